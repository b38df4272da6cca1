package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// origin is an upstream that answers "ok"; its address goes into routes.
func origin(t testing.TB) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func demoRoute(uri, node string) map[string]any {
	return map[string]any{"uri": uri, "upstream": map[string]any{"type": "roundrobin", "nodes": map[string]any{node: 1}}}
}

// TestKillDuringWrites kills the gateway with SIGKILL in the middle of 200 concurrent writes, 50 times: what was acknowledged is there afterwards.
func TestKillDuringWrites(t *testing.T) {
	rounds := 50
	if testing.Short() {
		rounds = 3
	}
	const writers = 200
	dir, node := t.TempDir(), origin(t)
	acked := make([]int, writers) // the last acknowledged version of each route
	sent := make([]int, writers)  // the last version that was sent
	total := 0
	for round := range rounds {
		p := startProcess(t, dir, "")
		verify(t, p, acked, sent, round)
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		var mu sync.Mutex
		// The kill comes at a random moment of the traffic: after that many acknowledgements.
		left, enough := 1+rand.IntN(2*writers), make(chan struct{})
		for i := range writers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for ctx.Err() == nil {
					mu.Lock()
					sent[i]++
					version := sent[i]
					mu.Unlock()
					r := demoRoute("/w"+strconv.Itoa(i), node)
					r["desc"] = strconv.Itoa(version)
					body, _ := json.Marshal(r)
					status, text, err := p.tryAdmin(ctx, http.MethodPut, "/routes/w"+strconv.Itoa(i), string(body))
					if err != nil {
						return
					}
					if status != 200 && status != 201 {
						t.Errorf("PUT: %d %s", status, text)
						return
					}
					mu.Lock()
					acked[i] = version
					total++
					if left--; left == 0 {
						close(enough)
					}
					mu.Unlock()
				}
			}()
		}
		<-enough
		p.kill()
		cancel()
		wg.Wait()
	}
	p := startProcess(t, dir, "")
	verify(t, p, acked, sent, rounds)
	p.stop()
	t.Logf("%d acknowledged writes in %d rounds, none lost", total, rounds)
}

// verify checks that every route has a version from what was acknowledged to what was sent.
func verify(t *testing.T, p *process, acked, sent []int, round int) {
	t.Helper()
	status, text := p.admin(http.MethodGet, "/routes", "")
	if status != 200 {
		t.Fatalf("round %d: list: %d %s", round, status, text)
	}
	var list struct {
		List []struct {
			Value struct {
				ID   string `json:"id"`
				Desc string `json:"desc"`
			} `json:"value"`
		} `json:"list"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatal(err)
	}
	have := map[string]int{}
	for _, item := range list.List {
		have[item.Value.ID], _ = strconv.Atoi(item.Value.Desc)
	}
	for i := range acked {
		got := have["w"+strconv.Itoa(i)]
		if got < acked[i] || got > sent[i] {
			t.Errorf("round %d: route w%d has version %d; %d was acknowledged and %d the last sent", round, i, got, acked[i], sent[i])
		}
	}
}

// TestDiskFull fills the disk under the store: writes are refused with 507, everything else goes on, and writes work again once there is room.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	node := origin(t)
	p := startProcess(t, dir, "")
	p.put("/routes/1", demoRoute("/a", node))

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	// The last page of the journal has some room left.
	refused, status, text := "", 0, ""
	for i := 0; i < 100 && status != http.StatusInsufficientStorage; i++ {
		refused = "/routes/filler" + strconv.Itoa(i)
		status, text = p.admin(http.MethodPut, refused, mustJSON(demoRoute(refused, node)))
	}
	if status != http.StatusInsufficientStorage {
		t.Fatalf("PUT on a full disk: %d %s, want 507", status, text)
	}
	if status, text := p.admin(http.MethodGet, "/routes/1", ""); status != 200 {
		t.Errorf("GET on a full disk: %d %s", status, text)
	}
	if status, text := p.admin(http.MethodGet, refused, ""); status != 404 {
		t.Errorf("GET of what was refused: %d %s", status, text)
	}
	if status, body, _ := p.get("http", "/a"); status != 200 || body != "ok" {
		t.Errorf("traffic on a full disk: %d %q", status, body)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	p.put("/routes/2", demoRoute("/b", node))
	if status, body, _ := p.get("http", "/b"); status != 200 || body != "ok" {
		t.Errorf("the route after recovery: %d %q", status, body)
	}
	p.stop()
	p = startProcess(t, dir, "")
	for _, uri := range []string{"/a", "/b"} {
		if status, _, _ := p.get("http", uri); status != 200 {
			t.Errorf("%s after a restart: %d", uri, status)
		}
	}
	p.stop()
}

// fill writes until the file system is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			if errors.Is(err, syscall.ENOSPC) {
				return
			}
			t.Fatal(err)
		}
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// BenchmarkPutAmong10000 is the time from sending a PUT of one route among 10,000 until a request gets the new answer.
func BenchmarkPutAmong10000(b *testing.B) {
	node := origin(b)
	p := startProcess(b, b.TempDir(), "")
	p.put("/upstreams/origin", map[string]any{"type": "roundrobin", "nodes": map[string]any{node: 1}})
	var wg sync.WaitGroup
	ids := make(chan int)
	for range 16 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range ids {
				body := fmt.Sprintf(`{"uri":"/r%d/*","upstream_id":"origin"}`, i)
				if status, text, err := p.tryAdmin(context.Background(), http.MethodPut, fmt.Sprintf("/routes/r%d", i), body); err != nil || status > 201 {
					b.Errorf("PUT: %d %s %v", status, text, err)
				}
			}
		}()
	}
	for i := range 10_000 {
		ids <- i
	}
	close(ids)
	wg.Wait()
	var worst time.Duration
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		p.put("/routes/r5000", fmt.Sprintf(`{"uri":"/new%d","upstream_id":"origin"}`, i))
		if status, _, _ := p.get("http", fmt.Sprintf("/new%d", i)); status != 200 {
			b.Fatalf("the new route answers %d", status)
		}
		worst = max(worst, time.Since(start))
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}

// TestSignals tests that signals which other gateways take for a reload or an upgrade do not end this one, and that SIGQUIT stops it in order.
func TestSignals(t *testing.T) {
	p := startProcess(t, t.TempDir(), "")
	p.put("/routes/1", `{"uri":"/hello","plugins":{"fault-injection":{"abort":{"http_status":200,"body":"hello"}}}}`)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR2, syscall.SIGUSR1, syscall.SIGHUP} {
		if err := p.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(p.log(), `signal=hangup`) || !strings.Contains(p.log(), `signal="user defined signal 2"`) {
		if time.Now().After(deadline) {
			t.Fatalf("the log does not tell about the signals:\n%s", p.log())
		}
		runtime.Gosched()
	}
	if status, body, _ := p.get("http", "/hello"); status != 200 || body != "hello" {
		t.Errorf("%d %s", status, body)
	}
	if err := p.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if p.err != nil || !strings.Contains(p.log(), "msg=stopping") {
		t.Errorf("the gateway ended with %v\n%s", p.err, p.log())
	}
}
