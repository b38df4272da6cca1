package accesslog

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

func exchange() *plugin.Exchange {
	ex := &plugin.Exchange{WallStart: time.Unix(1700000000, 0)}
	ex.Request.Method, ex.Request.Target, ex.Request.Protocol = []byte("GET"), []byte("/a?b"), "HTTP/1.1"
	ex.Request.Path, ex.Request.Query = []byte("/a"), []byte("b")
	ex.Request.Header.Reset([]plugin.Field{{Name: []byte("User-Agent"), Value: []byte("x\"y\\\x01\xff")}})
	ex.Response.Status = 200
	return ex
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct{ name, format, escape, want string }{
		{"text and variables", `[$request] $status ${uri}`, "", `[GET /a?b HTTP/1.1] 200 /a`},
		{"no value", `$http_referer|`, "", `-|`},
		{"empty value", `$upstream_uri|`, "", `|`},
		{"default escape", `"$http_user_agent"`, "", `"x\x22y\x5C\x01\xFF"`},
		{"json escape", `{"ua":"$http_user_agent","r":"$http_referer"}`, "json", "{\"ua\":\"x\\\"y\\\\\\u0001\xff\",\"r\":\"\"}"},
		{"no escape", `$http_user_agent`, "none", "x\"y\\\x01\xff"},
		{"dollar", `a$ b$$status ${`, "", `a$ b$200 ${`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := compileFormat(tc.format, tc.escape)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(f.append(nil, exchange())); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if _, err := compileFormat("", "xml"); err == nil {
		t.Error("escape xml is accepted")
	}
}

func TestFileAndReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "access.log")
	l, err := New(Options{Path: path, Format: "$status"})
	if err != nil {
		t.Fatal(err)
	}
	l.Write(0, exchange())
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	l.Write(3, exchange())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "200\n200\n" {
		t.Errorf("the new file has %q", got)
	}
	if err := l.Reopen(); err == nil {
		t.Error("a closed log reopens")
	}
}

// gate is a disk that takes nothing until it is opened, and may fail.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
	got  strings.Builder
	err  error
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	return g.got.Write(p)
}

func (g *gate) Close() error { return nil }

func TestSlowDiskDropsLines(t *testing.T) {
	f, _ := compileFormat("$status", "")
	g := &gate{open: make(chan struct{})}
	l := start(Options{BufferBytes: 4, FlushInterval: time.Hour, Logger: testLogger()}, f, g)
	const lines = 500
	for range lines {
		l.Write(0, exchange()) // must not block
	}
	dropped := l.Dropped()
	if dropped == 0 || dropped >= lines {
		t.Errorf("%d of %d lines dropped", dropped, lines)
	}
	close(g.open)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := uint64(strings.Count(g.got.String(), "\n")); got+dropped != lines {
		t.Errorf("%d written and %d dropped of %d", got, dropped, lines)
	}
}

func TestFullDiskRecovers(t *testing.T) {
	f, _ := compileFormat("$status", "")
	g := &gate{open: make(chan struct{}), err: errors.New("no space left on device")}
	close(g.open)
	l := start(Options{BufferBytes: 1, FlushInterval: time.Hour, Logger: testLogger()}, f, g)
	l.Write(0, exchange())
	for l.Dropped() == 0 {
		runtime.Gosched()
	}
	g.mu.Lock()
	g.err = nil
	g.mu.Unlock()
	l.Write(0, exchange())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if g.got.String() != "200\n" {
		t.Errorf("after recovery: %q", g.got.String())
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	l, err := New(Options{Path: filepath.Join(t.TempDir(), "a"), Format: `$remote_addr - [$time_local] $http_host "$request" $status $body_bytes_sent $request_time`, BufferBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ex := exchange()
	l.Write(0, ex)
	if n := testing.AllocsPerRun(100, func() { l.Write(0, ex); ex.Reset() }); n > 0 {
		t.Errorf("%v allocations per line", n)
	}
}
