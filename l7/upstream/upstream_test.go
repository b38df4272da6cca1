package upstream

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// newSet returns a set that ends with the test.
func newSet(t testing.TB, o Options) *Set {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s := NewSet(o)
	t.Cleanup(s.Close)
	return s
}

func get(t testing.TB, s *Set, c *snapshot.Upstream) *Upstream {
	t.Helper()
	u, err := s.Get(c)
	if err != nil {
		t.Fatalf("Get: %v", err)
	}
	return u
}

// conf builds an upstream from "host:port=weight" or "host:port=weight@priority".
func conf(typ string, nodes ...string) *snapshot.Upstream {
	c := &snapshot.Upstream{Resource: "/upstreams/1", Type: typ, Scheme: "http"}
	if typ == "chash" {
		c.HashOn, c.Key = "vars", "remote_addr"
	}
	for _, n := range nodes {
		hostPort, rest, _ := strings.Cut(n, "=")
		weight, priority, _ := strings.Cut(rest, "@")
		i := strings.LastIndexByte(hostPort, ':')
		port, _ := strconv.Atoi(hostPort[i+1:])
		w, _ := strconv.Atoi(weight)
		p, _ := strconv.Atoi(priority)
		c.Nodes = append(c.Nodes, snapshot.Node{Host: hostPort[:i], Port: port, Weight: w, Priority: p})
	}
	return c
}

// letters builds nodes a, b, c ... as ports 1, 2, 3 ... with the given weights.
func letters(typ string, weights ...int) *snapshot.Upstream {
	c := conf(typ)
	for i, w := range weights {
		c.Nodes = append(c.Nodes, snapshot.Node{Host: "10.0.0.1", Port: i + 1, Weight: w})
	}
	return c
}

func letter(n *Node) string { return string(rune('a' + n.Port - 1)) }

var types = []string{"roundrobin", "chash", "ewma", "least_conn"}

func TestGetErrors(t *testing.T) {
	tests := []struct {
		name string
		edit func(c *snapshot.Upstream)
		want string
	}{
		{"type", func(c *snapshot.Upstream) { c.Type = "random" }, `type: "random" is none of`},
		{"scheme", func(c *snapshot.Upstream) { c.Scheme = "ftp" }, `scheme: "ftp" is none of`},
		{"pass_host", func(c *snapshot.Upstream) { c.PassHost = "no" }, `pass_host: "no" is none of`},
		{"rewrite without host", func(c *snapshot.Upstream) { c.PassHost = "rewrite" }, "upstream_host: needed"},
		{"chash without key", func(c *snapshot.Upstream) { c.Type = "chash" }, "key: needed"},
		{"hash_on", func(c *snapshot.Upstream) { c.Type, c.HashOn, c.Key = "chash", "moon", "x" }, `hash_on: "moon" is none of`},
		{"timeout", func(c *snapshot.Upstream) { c.Timeout.Read = -1 }, "timeout.read: -1"},
		{"retry timeout", func(c *snapshot.Upstream) { c.RetryTimeout = 1e300 }, "retry_timeout: 1e+300"},
		{"idle timeout", func(c *snapshot.Upstream) { c.KeepalivePool = snapshot.KeepalivePool{Size: 1, IdleTimeout: -2} }, "keepalive_pool.idle_timeout: -2"},
		{"port", func(c *snapshot.Upstream) { c.Nodes[0].Port = 0 }, "nodes[0].port: 0"},
		{"weight", func(c *snapshot.Upstream) { c.Nodes[0].Weight = -1 }, "nodes[0].weight: -1"},
		{"empty host", func(c *snapshot.Upstream) { c.Nodes[0].Host = "" }, "nodes[0].host"},
		{"host with port", func(c *snapshot.Upstream) { c.Nodes[0].Host = "a:1" }, "nodes[0].host"},
		{"half a bracket", func(c *snapshot.Upstream) { c.Nodes[0].Host = "[::1" }, "nodes[0].host"},
	}
	s := newSet(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := conf("roundrobin", "10.0.0.1:80=1")
			tt.edit(c)
			_, err := s.Get(c)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "/upstreams/1") {
				t.Errorf("error %v, want one that has %q and the resource", err, tt.want)
			}
		})
	}
}

func TestCompile(t *testing.T) {
	two := 2
	minus := -1
	s := newSet(t, Options{})
	type exported struct {
		Scheme    string
		TLS       bool
		PassHost  PassHost
		Host      string
		Timeouts  Timeouts
		Retry     time.Duration
		Keepalive Keepalive
	}
	tests := []struct {
		name string
		edit func(c *snapshot.Upstream)
		want exported
		rets int
	}{
		{"defaults", func(*snapshot.Upstream) {}, exported{Scheme: "http",
			Timeouts: Timeouts{60 * time.Second, 60 * time.Second, 60 * time.Second}, Keepalive: Keepalive{320, 1000, 60 * time.Second}}, 1},
		{"all set", func(c *snapshot.Upstream) {
			c.Scheme, c.PassHost, c.UpstreamHost, c.Retries, c.RetryTimeout = "grpcs", "rewrite", "h.test", &two, 1.5
			c.Timeout = snapshot.Timeout{Connect: 0.25, Send: 2, Read: 3}
			c.KeepalivePool = snapshot.KeepalivePool{Size: 7, IdleTimeout: 0, Requests: 9}
		}, exported{Scheme: "grpcs", TLS: true, PassHost: HostRewrite, Host: "h.test", Retry: 1500 * time.Millisecond,
			Timeouts: Timeouts{250 * time.Millisecond, 2 * time.Second, 3 * time.Second}, Keepalive: Keepalive{7, 9, 0}}, 2},
		{"negative retries mean the default", func(c *snapshot.Upstream) { c.Retries = &minus }, exported{Scheme: "http",
			Timeouts: Timeouts{60 * time.Second, 60 * time.Second, 60 * time.Second}, Keepalive: Keepalive{320, 1000, 60 * time.Second}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := conf("roundrobin", "10.0.0.1:80=1", "10.0.0.2:80=1")
			tt.edit(c)
			u := get(t, s, c)
			got := exported{u.Scheme, u.TLS, u.PassHost, string(u.Host), u.Timeouts, u.RetryTimeout, u.Keepalive}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("compiled (-want +got):\n%s", d)
			}
			if u.Retries() != tt.rets {
				t.Errorf("retries %d, want %d", u.Retries(), tt.rets)
			}
			if again := get(t, s, c); again != u {
				t.Error("the same pointer compiled twice")
			}
		})
	}
}

func TestTimeoutsOf(t *testing.T) {
	base := Timeouts{time.Second, 2 * time.Second, 3 * time.Second}
	got, err := TimeoutsOf(&snapshot.Timeout{Send: 9}, base)
	if want := (Timeouts{time.Second, 9 * time.Second, 3 * time.Second}); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := TimeoutsOf(nil, base); err != nil || got != base {
		t.Errorf("nil: got %v, %v", got, err)
	}
}

// The rule is apisix/balancer.lua parse_server_for_upstream_host.
func TestHostHeader(t *testing.T) {
	tests := []struct{ scheme, host, want, other, wantOther string }{
		{"http", "10.0.0.1:80", "10.0.0.1", "https", "10.0.0.1:80"},
		{"http", "10.0.0.1:8080", "10.0.0.1:8080", "http", "10.0.0.1:8080"},
		{"https", "10.0.0.1:443", "10.0.0.1", "http", "10.0.0.1:443"},
		{"https", "10.0.0.1:80", "10.0.0.1:80", "http", "10.0.0.1"},
		{"grpc", "10.0.0.1:80", "10.0.0.1", "grpcs", "10.0.0.1:80"},
		{"grpcs", "10.0.0.1:443", "10.0.0.1", "tcp", "10.0.0.1:443"},
		{"http", "::1:80", "[::1]", "https", "[::1]:80"},
		{"http", "[::1]:81", "[::1]:81", "http", "[::1]:81"},
	}
	for _, tt := range tests {
		t.Run(tt.scheme+" "+tt.host, func(t *testing.T) {
			s := newSet(t, Options{})
			c := conf("roundrobin", tt.host+"=1")
			c.Scheme = tt.scheme
			n := get(t, s, c).Nodes()[0]
			if string(n.HostFor(tt.scheme)) != tt.want || string(n.HostFor(tt.other)) != tt.wantOther {
				t.Errorf("host header %q and %q for %s, want %q and %q", n.HostFor(tt.scheme), n.HostFor(tt.other), tt.other, tt.want, tt.wantOther)
			}
			if n.ID == 0 || n.Addr.Port() != uint16(n.Port) {
				t.Errorf("node %+v", n)
			}
		})
	}
}

func TestHashKey(t *testing.T) {
	exchange := func(edit func(ex *plugin.Exchange)) *plugin.Exchange {
		ex := &plugin.Exchange{Client: netip.MustParseAddrPort("[::ffff:127.0.0.1]:999")}
		ex.Request.Header.SetString("X-Sessionid", "s1")
		ex.Request.Header.SetString("custom_header", "custom-one")
		ex.Request.Header.SetString("Cookie", "sid=abc")
		ex.Request.Query, ex.Request.HasQuery = []byte("device_id=7"), true
		if edit != nil {
			edit(ex)
		}
		return ex
	}
	jack := func(ex *plugin.Exchange) { ex.SetConsumer(&plugin.Consumer{Username: "jack"}) }
	tests := []struct {
		name, on, key string
		edit          func(ex *plugin.Exchange)
		want          string
	}{
		{"vars", "vars", "arg_device_id", nil, "7"},
		{"vars is the default", "", "remote_addr", nil, "127.0.0.1"},
		{"vars without value", "vars", "arg_none", nil, "127.0.0.1"},
		{"header", "header", "X-Sessionid", nil, "s1"},
		{"header without value", "header", "X-None", nil, "127.0.0.1"},
		{"cookie", "cookie", "sid", nil, "abc"},
		{"cookie without value", "cookie", "none", nil, "127.0.0.1"},
		{"consumer", "consumer", "", jack, "jack"},
		{"no consumer", "consumer", "", nil, "127.0.0.1"},
		{"combination", "vars_combinations", "$http_x_sessionid-$arg_device_id", nil, "s1-7"},
		{"combination half resolved", "vars_combinations", "$http_x_sessionid-$arg_none", nil, "s1-"},
		{"combination unresolved", "vars_combinations", "$http_none-$arg_none", nil, "127.0.0.1"},
		{"combination without variables", "vars_combinations", "plain", nil, "127.0.0.1"},
	}
	s := newSet(t, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := conf("chash", "10.0.0.1:80=1")
			c.HashOn, c.Key = tt.on, tt.key
			u := get(t, s, c)
			if got := string(u.HashKey(exchange(tt.edit))); got != tt.want || !u.NeedsKey() {
				t.Errorf("key %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("other types have none", func(t *testing.T) {
		u := get(t, s, conf("roundrobin", "10.0.0.1:80=1"))
		if k := u.HashKey(exchange(nil)); k != nil || u.NeedsKey() {
			t.Errorf("key %q", k)
		}
	})
}

func TestRetainKeepsState(t *testing.T) {
	s := newSet(t, Options{})
	first := conf("least_conn", "10.0.0.1:80=1", "10.0.0.2:80=1")
	u := get(t, s, first)
	var held []*Node
	for range 3 {
		n, err := u.Pick(&Pick{})
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, n)
	}
	u.Report(held[0], ConnectError, 0, 1)
	held[1].SetHealthy(false)
	ids := map[netip.AddrPort]uint64{}
	for _, n := range u.Nodes() {
		ids[n.Addr] = n.ID
	}

	second := conf("least_conn", "10.0.0.2:80=5", "10.0.0.3:80=1", "10.0.0.1:80=1")
	v := get(t, s, second)
	s.Retain(func(c *snapshot.Upstream) bool { return c == second })
	for _, n := range v.Nodes() {
		if old, ok := ids[n.Addr]; ok != (n.ID == old) {
			t.Errorf("node %s: id %d, was %d", n.HostPort, n.ID, old)
		}
	}
	nodes := v.Nodes()
	if got := []int64{nodes[0].InFlight(), nodes[1].InFlight(), nodes[2].InFlight()}; !cmp.Equal(got, []int64{1, 0, 2}) {
		t.Errorf("in flight %v, want 1, 0, 2", got)
	}
	if nodes[0].Healthy() || !nodes[1].Healthy() || !nodes[2].Healthy() {
		t.Error("health was not kept")
	}
	if !nodes[2].st.failed(2) {
		t.Error("failure was not kept")
	}
	for _, n := range held {
		u.Release(n)
	}
	for _, n := range nodes {
		if n.InFlight() != 0 {
			t.Errorf("%s: %d in flight after release", n.HostPort, n.InFlight())
		}
	}
	if again := get(t, s, first); again == u {
		t.Error("Retain kept what nobody uses")
	}
}

func TestStateBelongsToTheResource(t *testing.T) {
	s := newSet(t, Options{})
	a, b := conf("roundrobin", "10.0.0.1:80=1"), conf("roundrobin", "10.0.0.1:80=1")
	b.Resource = "/upstreams/2"
	n, m := get(t, s, a).Nodes()[0], get(t, s, b).Nodes()[0]
	n.SetHealthy(false)
	if !m.Healthy() || n.ID == m.ID {
		t.Error("two resources share a node's state")
	}
}

func TestSameServerTwice(t *testing.T) {
	s := newSet(t, Options{})
	u := get(t, s, conf("roundrobin", "10.0.0.1:80=1", "10.0.0.2:80=1", "10.0.0.1:80=3"))
	if ns := u.Nodes(); len(ns) != 2 || ns[0].Weight != 3 {
		t.Errorf("nodes %+v", ns)
	}
}

// TestNamesAnswerAtOnce compiles upstreams of several names whose addresses come while the names are still being taken up.
func TestNamesAnswerAtOnce(t *testing.T) {
	s := newSet(t, Options{FirstWait: 10 * time.Second})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			c := &snapshot.Upstream{Resource: fmt.Sprintf("/upstreams/%d", i), Type: "roundrobin"}
			for j := range 8 {
				c.Nodes = append(c.Nodes, snapshot.Node{Host: fmt.Sprintf("n%d-%d.localhost", i, j), Port: 80, Weight: 1})
			}
			u, err := s.Get(c)
			if err != nil {
				t.Error(err)
				return
			}
			for j, n := range u.names {
				if n == nil || len(n.addresses()) == 0 {
					t.Errorf("upstream %d: node %d has no address", i, j)
				}
			}
		})
	}
	wg.Wait()
}
