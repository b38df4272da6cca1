package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/config"
)

func TestConnectionsPerLoop(t *testing.T) {
	for _, tt := range []struct {
		name              string
		configured, loops int
		files             uint64
		want              int
	}{
		{"configured", 1000, 4, 64, 250},
		{"rounded up", 1001, 4, 64, 251},
		{"fewer than loops", 1, 4, 64, 1},
		{"derived", 0, 2, 1024, 192},
		{"derived from much", 0, 4, 65536, 8160},
		{"derived from little", 0, 2, 64, 8},
		{"derived from nothing", 0, 2, 0, 1},
		{"no limit", 0, 8, 1<<64 - 1, 1 << 17},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := connectionsPerLoop(tt.configured, tt.loops, tt.files); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestRedirectPort(t *testing.T) {
	on := func(ports ...int) *config.Config {
		c := config.Default()
		c.APISIX.SSL.Enable, c.APISIX.SSL.Listen = len(ports) > 0, nil
		for _, p := range ports {
			c.APISIX.SSL.Listen = append(c.APISIX.SSL.Listen, config.SSLListen{Addr: config.Addr{Port: p}})
		}
		return c
	}
	for _, tt := range []struct {
		name, attr, want string
		conf             *config.Config
	}{
		{"the default", "", `{"https_port":9443}`, config.Default()},
		{"the first of several", "", `{"https_port":8443}`, on(8443, 9443)},
		{"TLS is off", "", "", on()},
		{"plugin_attr wins", `{"https_port":7443}`, `{"https_port":7443}`, on(8443)},
		{"plugin_attr says something else", `{"x":1}`, `{"https_port":8443,"x":1}`, on(8443)},
		{"plugin_attr is wrong", `[]`, `[]`, on(8443)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			attr := map[string]json.RawMessage{}
			if tt.attr != "" {
				attr["redirect"] = json.RawMessage(tt.attr)
			}
			redirectPort(attr, tt.conf)
			if got := string(attr["redirect"]); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestKeepaliveRequests(t *testing.T) {
	for _, tt := range []struct {
		idle time.Duration
		n    int
		want uint64
	}{{time.Second, 7, 7}, {time.Second, 0, math.MaxUint64}, {0, 7, 1}, {0, 0, 1}} {
		if got := keepaliveRequests(config.Limits{IdleTimeout: tt.idle, KeepaliveRequests: tt.n}); got != tt.want {
			t.Errorf("idle_timeout %v, keepalive_requests %d: %d, want %d", tt.idle, tt.n, got, tt.want)
		}
	}
}

// TestZeroLimits shows what 0 means in the two settings.
func TestZeroLimits(t *testing.T) {
	for _, tt := range []struct {
		conf string
		open bool // after 1,100 requests, or after the first where it is to close
	}{{"idle_timeout: 0", false}, {"keepalive_requests: 0", true}} {
		t.Run(tt.conf, func(t *testing.T) {
			dir := t.TempDir()
			path, err := binary()
			if err != nil {
				t.Fatal(err)
			}
			p, err := runProcess(t, path, dir, fmt.Sprintf(baseConfig, dir)+"  l7:\n    limits:\n      "+tt.conf+"\n")
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("tcp", p.addrs["http"])
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for i := range 1100 {
				fmt.Fprint(c, "GET /none HTTP/1.1\r\nHost: a\r\n\r\n")
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.Close == tt.open {
					t.Fatalf("request %d: Connection: close is %v", i, resp.Close)
				}
				if resp.Close {
					return
				}
			}
		})
	}
}

// TestReadyEndsWithDrain shows that load balancers are told while open requests still go on.
func TestReadyEndsWithDrain(t *testing.T) {
	arrived, leave := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-leave
	}))
	defer up.Close()
	p := startProcess(t, t.TempDir(), "")
	p.put("/routes/1", fmt.Sprintf(`{"uri":"/slow","upstream":{"type":"roundrobin","nodes":{"%s":1}}}`, strings.TrimPrefix(up.URL, "http://")))
	done := make(chan int, 1)
	go func() {
		status, _, _ := p.get("http", "/slow")
		done <- status
	}()
	ready := func() int {
		resp, err := http.Get("http://" + p.addrs["status"] + "/status/ready")
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := ready(); got != 200 {
		t.Fatalf("ready before: %d", got)
	}
	<-arrived
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ready() != 503; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("still ready while it stops")
		}
	}
	close(leave)
	if got := <-done; got != 200 {
		t.Errorf("the open request got %d", got)
	}
}
