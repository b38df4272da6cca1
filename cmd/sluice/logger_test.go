package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/config"
)

// gate is a writer that holds what it is given until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (g *gate) Write(b []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(b)
}

func (g *gate) String() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.String()
}

// TestLogNeverBlocks logs far more than is kept while nobody reads.
func TestLogNeverBlocks(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	logger, closeLog := newLogger(&env{Stderr: g}, config.Log{Level: "info", Format: "json"})
	const lines = 20000
	for i := range lines {
		logger.Warn("line", "n", i, "pad", strings.Repeat("x", 200))
	}
	close(g.open)
	closeLog()
	kept := 0
	for _, line := range strings.Split(strings.TrimSpace(g.String()), "\n") {
		var r struct{ N int }
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &r); err != nil || r.N != kept {
				t.Fatalf("line %d: %.80q, %v", kept, line, err)
			}
			kept++
		}
	}
	if note := fmt.Sprintf("sluice: %d log lines were dropped", lines-kept); kept < 1000 || kept == lines || !strings.Contains(g.String(), note) {
		t.Errorf("%d of %d lines kept; no %q", kept, lines, note)
	}
	logger.Info("late")
	if !strings.HasSuffix(g.String(), `"msg":"late"}`+"\n") {
		t.Error("a line after the end is lost")
	}
}

// TestLogCloses does not wait for a reader that never comes.
func TestLogCloses(t *testing.T) {
	r, w := io.Pipe()
	defer r.Close()
	logger, closeLog := newLogger(&env{Stderr: w}, config.Log{})
	logger.Info("unread")
	began := time.Now()
	closeLog()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("closing took %v", took)
	}
}

func TestLimitLines(t *testing.T) {
	var mu sync.Mutex
	var out bytes.Buffer
	l := limitLines(slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return out.Write(b)
	}), nil)))
	count := func(part string) int {
		mu.Lock()
		defer mu.Unlock()
		return strings.Count(out.String(), part)
	}
	for i := range 500 {
		l.With("route_id", i).Warn("refused")
	}
	l.Error("something else")
	if got := count("msg=refused"); got != linesPerSpan {
		t.Errorf("%d lines, want %d", got, linesPerSpan)
	}
	if count("something else") != 1 {
		t.Error("another message was held back")
	}
	for deadline := time.Now().Add(10 * time.Second); count("msg=refused suppressed=480") == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("no report:\n%s", out.String())
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.Warn("refused")
	if got := count("msg=refused"); got != linesPerSpan+2 {
		t.Errorf("%d lines after the report, want %d", got, linesPerSpan+2)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestLogReaderDies shows that the gateway outlives whoever reads its log.
func TestLogReaderDies(t *testing.T) {
	p := startProcess(t, t.TempDir(), "")
	p.stderr.Close()
	for range 3 {
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // is answered in the log
			t.Fatal(err)
		}
		p.put("/routes/1", map[string]any{"uri": "/hello", "plugins": map[string]any{"fault-injection": map[string]any{"abort": map[string]any{"http_status": 200}}}})
	}
	if status, body, _ := p.get("http", "/hello"); status != 200 {
		t.Errorf("status %d, %q", status, body)
	}
}
