package upstream

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// zone is a name server on loopback, UDP and TCP. Its records can change.
type zone struct {
	addr string

	mu      sync.Mutex
	records map[string][]string // "name TYPE" to records in presentation form
	rcode   map[string]int      // by name
	mangle  func(w dns.ResponseWriter, m *dns.Msg)
	queries map[string]int // "udp name TYPE"
}

func newZone(t testing.TB) *zone {
	t.Helper()
	l, pc := listenBoth(t)
	z := &zone{addr: pc.LocalAddr().String(), records: map[string][]string{}, rcode: map[string]int{}, queries: map[string]int{}}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: z}, {Listener: l, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		done := make(chan error, 1)
		go func() { done <- s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() {
			s.Shutdown()
			<-done
		})
	}
	return z
}

// listenBoth listens on the same port with TCP and UDP.
func listenBoth(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	var last error
	for range 50 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err == nil {
			return l, pc
		}
		last = err // another process has the UDP port
		l.Close()
	}
	t.Fatal(last)
	return nil, nil
}

// set replaces the records of a name and type; each is "TTL data".
func (z *zone) set(name, typ string, records ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	var full []string
	for _, r := range records {
		ttl, data, _ := strings.Cut(r, " ")
		t := typ
		if c, ok := strings.CutPrefix(data, "CNAME "); ok {
			t, data = "CNAME", c
		}
		owner := name
		if o, rest, ok := strings.Cut(data, " of "); ok {
			data, owner = o, rest
		}
		full = append(full, owner+" "+ttl+" IN "+t+" "+data)
	}
	z.records[name+" "+typ] = full
}

func (z *zone) setRcode(name string, rcode int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rcode[name] = rcode
}

func (z *zone) setMangle(f func(w dns.ResponseWriter, m *dns.Msg)) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.mangle = f
}

func (z *zone) count(query string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.queries[query]
}

func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	name, typ := strings.ToLower(q.Question[0].Name), dns.TypeToString[q.Question[0].Qtype]
	z.queries[w.LocalAddr().Network()+" "+name+" "+typ]++
	m := new(dns.Msg)
	m.SetReply(q)
	for _, r := range z.records[name+" "+typ] {
		rr, err := dns.NewRR(r)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	m.Rcode = z.rcode[name]
	mangle := z.mangle
	z.mu.Unlock()
	if mangle != nil {
		mangle(w, m)
		return
	}
	w.WriteMsg(m)
}

// options asks only the zone, with lifetimes that suit a test.
func (z *zone) options(t testing.TB) ResolverOptions {
	t.Helper()
	dir := t.TempDir()
	hosts, conf := filepath.Join(dir, "hosts"), filepath.Join(dir, "resolv.conf")
	for _, f := range []string{hosts, conf} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ResolverOptions{Servers: []string{z.addr}, Timeout: 5 * time.Second, MinTTL: 10 * time.Millisecond, HostsFile: hosts, ResolvConf: conf}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func addrsOf(u *Upstream) (out []string) {
	for _, n := range u.Nodes() {
		out = append(out, n.Addr.String())
	}
	return out
}

func lookup(t testing.TB, o ResolverOptions, host string) ([]string, time.Duration, error) {
	t.Helper()
	s := newSet(t, Options{Resolver: o})
	addrs, ttl, err := s.resolver.Lookup(t.Context(), host)
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out, ttl, err
}

func TestLookup(t *testing.T) {
	tests := []struct {
		name    string
		zone    func(z *zone)
		edit    func(o *ResolverOptions)
		host    string
		want    []string
		ttl     time.Duration
		wantErr string
	}{
		{name: "A", zone: func(z *zone) { z.set("a.test.", "A", "60 10.0.0.2", "30 10.0.0.1", "60 10.0.0.2") },
			want: []string{"10.0.0.1", "10.0.0.2"}, ttl: 30 * time.Second},
		{name: "AAAA is not asked without IPv6", zone: func(z *zone) { z.set("a.test.", "AAAA", "60 fd00::1") }, wantErr: "no address"},
		{name: "AAAA when there is no A", zone: func(z *zone) { z.set("a.test.", "AAAA", "60 fd00::1") },
			edit: func(o *ResolverOptions) { o.IPv6 = true }, want: []string{"fd00::1"}, ttl: time.Minute},
		{name: "A before AAAA", zone: func(z *zone) { z.set("a.test.", "AAAA", "60 fd00::1"); z.set("a.test.", "A", "60 10.0.0.1") },
			edit: func(o *ResolverOptions) { o.IPv6 = true }, want: []string{"10.0.0.1"}, ttl: time.Minute},
		{name: "least TTL", zone: func(z *zone) { z.set("a.test.", "A", "0 10.0.0.1") }, want: []string{"10.0.0.1"}, ttl: 10 * time.Millisecond},
		{name: "most TTL", zone: func(z *zone) { z.set("a.test.", "A", "864000 10.0.0.1") }, want: []string{"10.0.0.1"}, ttl: time.Hour},
		{name: "dns_resolver_valid", zone: func(z *zone) { z.set("a.test.", "A", "60 10.0.0.1") },
			edit: func(o *ResolverOptions) { o.Valid = 5 * time.Second }, want: []string{"10.0.0.1"}, ttl: 5 * time.Second},
		{name: "alias in one answer", zone: func(z *zone) {
			z.set("a.test.", "A", "20 CNAME B.test.", "60 10.0.0.1 of b.TEST.")
		}, want: []string{"10.0.0.1"}, ttl: 20 * time.Second},
		{name: "alias to ask for", zone: func(z *zone) {
			z.set("a.test.", "A", "60 CNAME b.test.")
			z.set("b.test.", "A", "7 10.0.0.1")
		}, want: []string{"10.0.0.1"}, ttl: 7 * time.Second},
		{name: "alias to nothing", zone: func(z *zone) { z.set("a.test.", "A", "60 CNAME b.test.") }, wantErr: "no address"},
		{name: "aliases in a circle", zone: func(z *zone) {
			z.set("a.test.", "A", "60 CNAME b.test.")
			z.set("b.test.", "A", "60 CNAME a.test.")
		}, wantErr: "more than 8 aliases"},
		{name: "alias to itself", zone: func(z *zone) { z.set("a.test.", "A", "60 CNAME a.test.") }, wantErr: "no address"},
		{name: "records of other names do not count", zone: func(z *zone) { z.set("a.test.", "A", "60 10.0.0.9 of evil.test.") }, wantErr: "no address"},
		{name: "NXDOMAIN", zone: func(z *zone) { z.setRcode("a.test.", dns.RcodeNameError) }, wantErr: "does not exist"},
		{name: "SERVFAIL", zone: func(z *zone) { z.setRcode("a.test.", dns.RcodeServerFailure) }, wantErr: "SERVFAIL"},
		{name: "cut answer is asked again over TCP", zone: func(z *zone) {
			z.set("a.test.", "A", "60 10.0.0.1")
			z.setMangle(func(w dns.ResponseWriter, m *dns.Msg) {
				if w.LocalAddr().Network() == "udp" {
					m.Truncated, m.Answer = true, nil
				}
				w.WriteMsg(m)
			})
		}, want: []string{"10.0.0.1"}, ttl: time.Minute},
		{name: "server without EDNS", zone: func(z *zone) {
			z.set("a.test.", "A", "60 10.0.0.1")
			first := true
			z.setMangle(func(w dns.ResponseWriter, m *dns.Msg) {
				if first {
					first = false
					m.Rcode, m.Answer = dns.RcodeFormatError, nil
				}
				w.WriteMsg(m)
			})
		}, want: []string{"10.0.0.1"}, ttl: time.Minute},
		{name: "answer to another question", zone: func(z *zone) {
			z.setMangle(func(w dns.ResponseWriter, m *dns.Msg) {
				m.Question[0].Name = "other.test."
				w.WriteMsg(m)
			})
		}, wantErr: "another question"},
		{name: "too many addresses", zone: func(z *zone) {
			var rs []string
			for i := range 200 {
				rs = append(rs, "60 10.0.1."+strconv.Itoa(i))
			}
			z.set("a.test.", "A", rs...)
			z.setMangle(func(w dns.ResponseWriter, m *dns.Msg) {
				if w.LocalAddr().Network() == "udp" {
					m.Truncate(udpSize)
				}
				w.WriteMsg(m)
			})
		}, want: func() (out []string) {
			for i := range maxAddrs {
				out = append(out, "10.0.1."+strconv.Itoa(i))
			}
			return out
		}(), ttl: time.Minute},
		{name: "hosts file first", zone: func(z *zone) { z.set("a.test.", "A", "60 10.0.0.1") },
			edit: func(o *ResolverOptions) {
				os.WriteFile(o.HostsFile, []byte("# x\n10.9.9.9 other A.test # c\nfd00::9 a.test\nnonsense\n"), 0o600)
			}, want: []string{"10.9.9.9"}, ttl: hostsTTL},
		{name: "hosts file with IPv6 only", edit: func(o *ResolverOptions) {
			o.IPv6 = true
			os.WriteFile(o.HostsFile, []byte("fd00::9 a.test\n"), 0o600)
		}, want: []string{"fd00::9"}, ttl: hostsTTL},
		{name: "localhost is never asked for", host: "localhost", zone: func(z *zone) { z.set("localhost.", "A", "60 10.6.6.6") }, want: []string{"127.0.0.1"}, ttl: time.Hour},
		{name: "search list", host: "a", zone: func(z *zone) { z.set("a.two.test.", "A", "60 10.0.0.1"); z.setRcode("a.one.test.", dns.RcodeNameError) },
			edit: func(o *ResolverOptions) {
				o.Search = true
				os.WriteFile(o.ResolvConf, []byte("search one.test two.test\n"), 0o600)
			}, want: []string{"10.0.0.1"}, ttl: time.Minute},
		{name: "search list turned off", host: "a", zone: func(z *zone) { z.set("a.two.test.", "A", "60 10.0.0.1") },
			edit: func(o *ResolverOptions) { os.WriteFile(o.ResolvConf, []byte("search one.test two.test\n"), 0o600) }, wantErr: "no address"},
		{name: "no server", edit: func(o *ResolverOptions) { o.Servers = nil }, wantErr: "set apisix.dns_resolver"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			z := newZone(t)
			if tt.zone != nil {
				tt.zone(z)
			}
			o := z.options(t)
			if tt.edit != nil {
				tt.edit(&o)
			}
			host := "a.test"
			if tt.host != "" {
				host = tt.host
			}
			got, ttl, err := lookup(t, o, host)
			if tt.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wantErr) || !strings.Contains(err.Error(), host) {
					t.Fatalf("got %v, %v, want an error with %q", got, err, tt.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got); d != "" || ttl != tt.ttl {
				t.Errorf("ttl %v, want %v (-want +got):\n%s", ttl, tt.ttl, d)
			}
		})
	}
}

func TestLookupAsksTheNextServer(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	bad, good := newZone(t), newZone(t)
	bad.setRcode("a.test.", dns.RcodeRefused)
	good.set("a.test.", "A", "60 10.0.0.1")
	o := good.options(t)
	o.Timeout = 50 * time.Millisecond
	for name, server := range map[string]string{"silent": silent.LocalAddr().String(), "refusing": bad.addr} {
		t.Run(name, func(t *testing.T) {
			o := o
			o.Servers = []string{server, good.addr}
			if got, _, err := lookup(t, o, "a.test"); err != nil || !cmp.Equal(got, []string{"10.0.0.1"}) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	t.Run("all silent", func(t *testing.T) {
		o := o
		o.Servers = []string{silent.LocalAddr().String()}
		var ne net.Error
		if got, _, err := lookup(t, o, "a.test"); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("got %v, %v, want a timeout", got, err)
		}
	})
}

func TestHostsFileIsReadAgain(t *testing.T) {
	z := newZone(t)
	o := z.options(t)
	s := newSet(t, Options{Resolver: o})
	for _, want := range []string{"10.1.1.1", "10.22.22.22", "10.3.3.3"} {
		if err := os.WriteFile(o.HostsFile, []byte(want+" a.test\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		// Do not depend on the resolution of the file system's clock.
		if err := os.Chtimes(o.HostsFile, time.Time{}, time.Unix(int64(len(want)), int64(want[3]))); err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.resolver.Lookup(t.Context(), "a.test"); err != nil || got[0].String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
}

func TestNamesBecomeNodes(t *testing.T) {
	z := newZone(t)
	z.set("a.test.", "A", "60 10.0.0.1", "60 10.0.0.2")
	s := newSet(t, Options{Resolver: z.options(t), FirstWait: 10 * time.Second})
	u := get(t, s, conf("roundrobin", "A.test:80=1", "10.0.0.9:80=1", "none.test:80=5"))
	if d := cmp.Diff([]string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.9:80"}, addrsOf(u)); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	n := u.Nodes()[0]
	if n.HostPort != "A.test:80" || string(n.HostFor("http")) != "A.test" || n.Weight != 1 || u.Retries() != 2 {
		t.Errorf("node %+v, %d retries", n, u.Retries())
	}
	// The addresses of a name share its weight.
	seen := map[string]int{}
	for range 40 {
		n, err := u.Pick(&Pick{})
		if err != nil {
			t.Fatal(err)
		}
		seen[n.Addr.Addr().String()]++
	}
	if d := cmp.Diff(map[string]int{"10.0.0.1": 10, "10.0.0.2": 10, "10.0.0.9": 20}, seen); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAnswersChange(t *testing.T) {
	z := newZone(t)
	z.set("a.test.", "A", "0 10.0.0.1", "0 10.0.0.2")
	s := newSet(t, Options{Resolver: z.options(t), FirstWait: 10 * time.Second})
	u := get(t, s, conf("least_conn", "a.test:80=1"))
	var p Pick
	first, err := u.Pick(&p)
	if err != nil {
		t.Fatal(err)
	}
	z.set("a.test.", "A", "0 10.0.0.1", "0 10.0.0.2", "0 10.0.0.3")
	eventually(t, "third address", func() bool { return len(u.Nodes()) == 3 })

	// A request that began with the old addresses does not get the same node again.
	rest, err := attempts(u, &p)
	if len(rest) != 2 || !errors.Is(err, ErrTried) {
		t.Errorf("%d more attempts, %v, want 2", len(rest), err)
	}
	for _, n := range u.Nodes() {
		if n.Addr == first.Addr && (n.ID != first.ID || n.InFlight() == 0) {
			t.Error("the node's state was lost")
		}
	}

	for name, rcode := range map[string]int{"NXDOMAIN": dns.RcodeNameError, "SERVFAIL": dns.RcodeServerFailure} {
		t.Run(name+" keeps the last addresses", func(t *testing.T) {
			z.setRcode("a.test.", rcode)
			before := z.count("udp a.test. A")
			eventually(t, "two more queries", func() bool { return z.count("udp a.test. A") >= before+2 })
			if len(u.Nodes()) != 3 {
				t.Errorf("nodes %v", addrsOf(u))
			}
		})
	}
	z.setRcode("a.test.", dns.RcodeSuccess)
	z.set("a.test.", "A", "0 10.0.0.4")
	eventually(t, "new address after recovery", func() bool { return cmp.Equal(addrsOf(u), []string{"10.0.0.4:80"}) })
}

func TestTTLIsHonoured(t *testing.T) {
	z := newZone(t)
	z.set("long.test.", "A", "3600 10.0.0.1")
	z.set("short.test.", "A", "0 10.0.0.2")
	s := newSet(t, Options{Resolver: z.options(t), FirstWait: 10 * time.Second})
	get(t, s, conf("roundrobin", "long.test:80=1", "short.test:80=1"))
	eventually(t, "short answers expire", func() bool { return z.count("udp short.test. A") > 5 })
	if n := z.count("udp long.test. A"); n != 1 {
		t.Errorf("the long answer was asked for %d times", n)
	}
}

func TestUpstreamsShareANameUntilRetain(t *testing.T) {
	z := newZone(t)
	z.set("a.test.", "A", "3600 10.0.0.1")
	s := newSet(t, Options{Resolver: z.options(t), FirstWait: 10 * time.Second})
	c, d := conf("roundrobin", "a.test:80=1"), conf("roundrobin", "a.test.:81=1", "A.TEST:82=1")
	u, v := get(t, s, c), get(t, s, d)
	if len(u.Nodes()) != 1 || len(v.Nodes()) != 2 || z.count("udp a.test. A") != 1 {
		t.Errorf("nodes %v and %v, %d queries", addrsOf(u), addrsOf(v), z.count("udp a.test. A"))
	}
	s.Retain(func(x *snapshot.Upstream) bool { return x == d })
	if len(s.resolver.names) != 1 {
		t.Errorf("names %v", s.resolver.names)
	}
	s.Retain(func(*snapshot.Upstream) bool { return false })
	if len(s.resolver.names) != 0 {
		t.Errorf("names %v are still resolved", s.resolver.names)
	}
	if n, err := u.Pick(&Pick{}); err != nil || n.Addr != netip.MustParseAddrPort("10.0.0.1:80") {
		t.Errorf("a dropped upstream gives %v, %v", n, err)
	}
}

func TestGetWhenDNSIsDown(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	z := newZone(t)
	o := z.options(t)
	o.Servers = []string{silent.LocalAddr().String()}
	s := newSet(t, Options{Resolver: o, FirstWait: 20 * time.Millisecond})
	start := time.Now()
	for i := range 200 {
		u := get(t, s, conf("roundrobin", "host"+strconv.Itoa(i)+".test:80=1"))
		if n, err := u.Pick(&Pick{}); !errors.Is(err, ErrNoNodes) {
			t.Fatalf("got %v, %v", n, err)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("200 upstreams took %v, want the waiting bounded for all together", d)
	}
	start = time.Now()
	s.Close()
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("Close took %v, want queries under way to be given up", d)
	}
}

func TestSettle(t *testing.T) {
	z := newZone(t)
	z.set("a.test.", "A", "60 10.0.0.1")
	z.setRcode("b.test.", dns.RcodeNameError)
	release := make(chan struct{})
	z.setMangle(func(w dns.ResponseWriter, m *dns.Msg) {
		<-release
		w.WriteMsg(m)
	})
	s := newSet(t, Options{Resolver: z.options(t), FirstWait: -1})
	u, v := get(t, s, conf("roundrobin", "a.test:80=1")), get(t, s, conf("roundrobin", "b.test:80=1"))
	if len(u.Nodes()) != 0 {
		t.Fatal("Get waited")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s.Settle(ctx) // does not hang
	close(release)
	s.Settle(t.Context())
	if len(u.Nodes()) != 1 || len(v.Nodes()) != 0 {
		t.Errorf("nodes %v and %v", addrsOf(u), addrsOf(v))
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, rrs := range [][]string{{"a.test. 1 IN A 10.0.0.1"}, {"a.test. 1 IN CNAME b.test.", "b.test. 2 IN AAAA fd00::1"}, {"a.test. 1 IN CNAME a.test."}} {
		m := new(dns.Msg)
		m.SetQuestion("a.test.", dns.TypeA)
		for _, r := range rrs {
			rr, err := dns.NewRR(r)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil {
			return
		}
		for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
			addrs, end, _ := readAnswer(m, "a.test.", typ)
			if end == "" {
				t.Error("no end of the chain")
			}
			for _, a := range addrs {
				if !a.IsValid() {
					t.Error("invalid address")
				}
			}
		}
	})
}

func FuzzParseHosts(f *testing.F) {
	f.Add([]byte("127.0.0.1 localhost\n::1 localhost ip6-localhost # v6\n\n# x\n10.0.0.1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, addrs := range parseHosts(b) {
			if name != strings.ToLower(name) || len(addrs) == 0 {
				t.Errorf("name %q with addresses %v", name, addrs)
			}
		}
	})
}
