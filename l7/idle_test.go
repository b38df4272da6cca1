package l7_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
)

// idleClients is how many idle connections are measured.
const idleClients = 10000

// moreDescriptors raises the limit of this process and skips the test when that is not allowed.
func moreDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		t.Fatal(err)
	}
	if r.Cur >= n {
		return
	}
	r.Cur, r.Max = n, max(n, r.Max)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		t.Skipf("raise the limit of descriptors to %d: %v", n, err)
	}
}

// resident is the memory of this process in bytes after everything that is free was given back.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		var kib int64
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatalf("no Rss in %q", b)
	return 0
}

// TestIdleConnections measures what 10,000 idle keep-alive connections cost this process; the clients are in another one.
func TestIdleConnections(t *testing.T) {
	if addr := os.Getenv("L7_IDLE"); addr != "" {
		idleChild(t, addr)
		return
	}
	if l7test.Race {
		t.Skip("the race detector needs memory of its own")
	}
	moreDescriptors(t, idleClients+1000)
	up := l7test.NewUpstreams(t, l7test.Echo)
	g := l7test.Start(t, l7.Options{Loops: 2}, l7test.Routes(l7test.To(up.Addr)))
	warm := l7test.Dial(t, g.Addr)
	for range 100 {
		warm.Send(l7test.Get("/"))
		warm.Want("GET", 200, "*")
	}
	heap, rss := int64(l7test.Heap()), resident(t)

	child := exec.Command(os.Args[0], "-test.run=^TestIdleConnections$", "-test.v")
	child.Env = append(os.Environ(), "L7_IDLE="+g.Addr)
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
		text.WriteString(lines.Text() + "\n")
	}
	if n := g.Totals().Conns; n != idleClients+1 {
		t.Errorf("%d connections, want %d\n%s", n, idleClients+1, text.String())
	}
	l7test.Eventually(t, "all are idle", func() bool { return g.Totals().Busy == 0 })
	heapEach, rssEach := (int64(l7test.Heap())-heap)/idleClients, (resident(t)-rss)/idleClients
	t.Logf("each of %d idle connections costs %d bytes of heap, %d bytes of resident memory", idleClients, heapEach, rssEach)
	if heapEach > 4096 || rssEach > 4096 {
		t.Errorf("an idle connection costs %d bytes of heap, %d bytes of resident memory; want at most 4096", heapEach, rssEach)
	}
	in.Close()
	if err := child.Wait(); err != nil {
		t.Errorf("%v\n%s", err, text.String())
	}
	l7test.Eventually(t, "all connections end", func() bool { return g.Totals().Conns == 1 })
}

// idleChild opens the connections, sends a request on each and holds them until its input ends.
func idleChild(t *testing.T, addr string) {
	moreDescriptors(t, idleClients+1000)
	request := []byte(l7test.Get("/"))
	buf := make([]byte, 4096)
	var all []net.Conn
	for range idleClients {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		for have := 0; !strings.HasSuffix(string(buf[:have]), "GET /\n"); {
			n, err := c.Read(buf[have:])
			if err != nil {
				t.Fatalf("%v after %q", err, buf[:have])
			}
			have += n
		}
	}
	fmt.Println("ready")
	_, _ = os.Stdin.Read(buf)
	for _, c := range all {
		c.Close()
	}
}
