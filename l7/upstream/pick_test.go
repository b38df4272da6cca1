package upstream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// picks returns the letters of n first attempts of one loop.
func picks(t testing.TB, u *Upstream, loop, n int, edit func(p *Pick)) string {
	t.Helper()
	var b strings.Builder
	for range n {
		p := Pick{Loop: loop, Now: 1}
		if edit != nil {
			edit(&p)
		}
		node, err := u.Pick(&p)
		if err != nil {
			t.Fatalf("Pick: %v", err)
		}
		b.WriteString(letter(node))
	}
	return b.String()
}

func TestRoundRobinSequence(t *testing.T) {
	tests := []struct {
		name    string
		weights []int
		loop    int
		down    string
		want    string
	}{
		{name: "smooth", weights: []int{5, 1, 1}, want: "aabacaa" + "aabacaa"},
		{name: "equal", weights: []int{1, 1, 1}, want: "abcabc"},
		{name: "equal large", weights: []int{100, 100}, want: "abab"},
		{name: "two to one", weights: []int{2, 1}, want: "abaaba"},
		{name: "common divisor", weights: []int{50, 10, 10}, want: "aabacaa"},
		{name: "weight 0", weights: []int{1, 0, 1}, want: "acac"},
		{name: "one node", weights: []int{7}, want: "aaaa"},
		{name: "another loop starts elsewhere", weights: []int{1, 1}, loop: 1, want: "baba"},
		{name: "a node down keeps the proportion of the others", weights: []int{5, 1, 1}, down: "a", want: "bcbc"},
		{name: "weights whose sequence is not kept", weights: []int{50_000, 10_001, 9_999}, want: "aabacaa"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSet(t, Options{Loops: 2})
			u := get(t, s, letters("roundrobin", tt.weights...))
			for _, n := range u.Nodes() {
				n.SetHealthy(!strings.Contains(tt.down, letter(n)))
			}
			if got := picks(t, u, tt.loop, len(tt.want), nil); got != tt.want {
				t.Errorf("sequence %s, want %s", got, tt.want)
			}
		})
	}
}

func TestRoundRobinLiveIsTheSameOrder(t *testing.T) {
	s := newSet(t, Options{})
	for _, w := range [][]int{{5, 1, 1}, {3, 2}, {7, 4, 2, 1}, {1, 1, 1, 1, 13}} {
		t.Run(fmt.Sprint(w), func(t *testing.T) {
			u := get(t, s, letters("roundrobin", w...))
			kept := u.table.Load().groups[0].(*roundRobin)
			ws, total := weights(kept.nodes)
			live := &roundRobin{nodes: kept.nodes, weight: ws, loops: []rrLoop{{cur: make([]int64, len(ws))}}}
			for i := range 3 * int(total) {
				a, b := kept.pick(&Pick{}, fresh), live.pick(&Pick{}, fresh)
				if a != b {
					t.Fatalf("pick %d: %s and %s", i, letter(a), letter(b))
				}
			}
		})
	}
}

func TestManyNodesDown(t *testing.T) {
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			s := newSet(t, Options{})
			c := conf(typ)
			for i := range 500 {
				c.Nodes = append(c.Nodes, snapshot.Node{Host: "10.0.0.1", Port: i + 1, Weight: 1 + i%3})
			}
			u := get(t, s, c)
			for _, n := range u.Nodes() {
				n.SetHealthy(n.Port == 77 || n.Port == 78)
			}
			seen := map[int]int{}
			for i := range 4000 {
				n, err := u.Pick(&Pick{Now: 1, Key: fmt.Append(nil, "key", i)})
				if err != nil {
					t.Fatal(err)
				}
				seen[n.Port]++
			}
			if seen[77]+seen[78] != 4000 || seen[77] == 0 || seen[78] == 0 {
				t.Errorf("picked %v", seen)
			}
		})
	}
}

func TestLeastConn(t *testing.T) {
	tests := []struct {
		name    string
		weights []int
		want    string
	}{
		{"equal nodes take turns", []int{1, 1, 1}, "abcbca"},
		{"by weight", []int{3, 1}, "aaab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSet(t, Options{})
			u := get(t, s, letters("least_conn", tt.weights...))
			seen := map[string]int{}
			var first *Node
			for i := range len(tt.want) {
				n, err := u.Pick(&Pick{})
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = n
				}
				seen[letter(n)]++
			}
			want := map[string]int{}
			for _, l := range tt.want {
				want[string(l)]++
			}
			if d := cmp.Diff(want, seen); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			u.Release(first)
			if n, err := u.Pick(&Pick{}); err != nil || n != first {
				t.Errorf("after a release: %v, %v, want the node that has one less", n, err)
			}
		})
	}
}

func TestEWMA(t *testing.T) {
	const ms = int64(1e6)
	s := newSet(t, Options{})
	u := get(t, s, letters("ewma", 1, 1))
	slow, fast := u.Nodes()[0], u.Nodes()[1]
	u.Report(slow, Success, 500e6, 1000*ms)
	u.Report(fast, Success, 5e6, 1000*ms)
	count := func(now int64) (n int) {
		for range 200 {
			node, err := u.Pick(&Pick{Now: now})
			if err != nil {
				t.Fatal(err)
			}
			u.Release(node)
			if node == slow {
				n++
			}
		}
		return n
	}
	if n := count(1001 * ms); n != 0 {
		t.Errorf("the slow node got %d of 200 idle picks", n)
	}
	t.Run("requests in flight count", func(t *testing.T) {
		seen := 0
		var held []*Node
		for range 200 {
			n, err := u.Pick(&Pick{Now: 1001 * ms})
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, n)
			if n == slow {
				seen++
			}
		}
		for _, n := range held {
			u.Release(n)
		}
		if seen == 0 || seen > 20 {
			t.Errorf("the slow node got %d of 200 picks that stay", seen)
		}
	})
	t.Run("the average decays", func(t *testing.T) {
		if got := slow.ResponseTime(11000 * ms).Milliseconds(); got < 180 || got > 188 { // 500/e
			t.Errorf("after 10 s the average is %d ms, want 184", got)
		}
		u.Report(slow, Success, 1000e6, 11000*ms)
		if got := slow.ResponseTime(11000 * ms).Milliseconds(); got < 810 || got > 822 { // 500/e + 1000(1-1/e)
			t.Errorf("new average is %d ms, want 816", got)
		}
	})
	t.Run("an earlier clock reading does no harm", func(t *testing.T) {
		before := slow.ResponseTime(11000 * ms)
		u.Report(slow, Success, 1e6, 10990*ms)
		if got := slow.ResponseTime(11000 * ms); got > before || got < before*99/100 {
			t.Errorf("average %v, was %v", got, before)
		}
	})
}

func TestDistribution(t *testing.T) {
	tests := []struct {
		typ  string
		want []int // of 6000, by weights 3, 2, 1
	}{
		{"roundrobin", []int{3000, 2000, 1000}},
		{"chash", []int{3000, 2000, 1000}},
		{"ewma", []int{2000, 2000, 2000}},
		{"least_conn", []int{3000, 2000, 1000}},
	}
	for _, tt := range tests {
		t.Run(tt.typ, func(t *testing.T) {
			s := newSet(t, Options{Loops: 2})
			u := get(t, s, letters(tt.typ, 3, 2, 1))
			got := make([]int, 3)
			for i := range 6000 {
				n, err := u.Pick(&Pick{Loop: i % 2, Key: fmt.Append(nil, "k", i)})
				if err != nil {
					t.Fatal(err)
				}
				got[n.Port-1]++
			}
			for i := range got {
				if d := got[i] - tt.want[i]; d < -500 || d > 500 {
					t.Errorf("got %v, want about %v", got, tt.want)
				}
			}
		})
	}
}

// attempts picks until an error.
func attempts(u *Upstream, p *Pick) (ports []int, err error) {
	for range 5000 {
		n, err := u.Pick(p)
		if err != nil {
			return ports, err
		}
		ports = append(ports, n.Port)
	}
	return ports, nil
}

// The first case is t/node/priority-balancer/sanity.t TEST 1 with ports for addresses.
func TestPriorities(t *testing.T) {
	tests := []struct {
		name  string
		typ   string
		nodes []string
		down  []int
		want  []int
	}{
		{"groups in turn", "least_conn", []string{"10.0.0.1:1=2@1", "10.0.0.1:2=1@1", "10.0.0.1:3=2@0", "10.0.0.1:4=1@0", "10.0.0.1:5=2@-1"}, nil, []int{1, 2, 3, 4, 5}},
		{"order of configuration does not matter", "roundrobin", []string{"10.0.0.1:1=1@-5", "10.0.0.1:2=1@7", "10.0.0.1:3=1@0"}, nil, []int{2, 3, 1}},
		{"unhealthy groups are left out", "roundrobin", []string{"10.0.0.1:1=1@2", "10.0.0.1:2=1@1", "10.0.0.1:3=1@0"}, []int{1, 2}, []int{3}},
		{"all unhealthy counts as all healthy", "roundrobin", []string{"10.0.0.1:1=1@2", "10.0.0.1:2=1@1"}, []int{1, 2}, []int{1, 2}},
		{"a group of weight 0 is no group", "roundrobin", []string{"10.0.0.1:1=0@2", "10.0.0.1:2=1@1", "10.0.0.1:3=1@1"}, nil, []int{2, 3}},
		{"chash", "chash", []string{"10.0.0.1:1=1@2", "10.0.0.1:2=1@1", "10.0.0.1:3=1@0"}, nil, []int{1, 2, 3}},
		{"ewma", "ewma", []string{"10.0.0.1:1=1@2", "10.0.0.1:2=1@1", "10.0.0.1:3=1@0"}, nil, []int{1, 2, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSet(t, Options{})
			u := get(t, s, conf(tt.typ, tt.nodes...))
			for _, n := range u.Nodes() {
				for _, d := range tt.down {
					if n.Port == d {
						n.SetHealthy(false)
					}
				}
			}
			got, err := attempts(u, &Pick{Now: 1})
			if d := cmp.Diff(tt.want, got); d != "" || !errors.Is(err, ErrTried) {
				t.Errorf("attempts ended with %v (-want +got):\n%s", err, d)
			}
		})
	}
}

func TestNoNodes(t *testing.T) {
	s := newSet(t, Options{})
	for _, typ := range types {
		for name, c := range map[string]*snapshot.Upstream{"all weights 0": letters(typ, 0, 0), "none": letters(typ)} {
			t.Run(typ+" "+name, func(t *testing.T) {
				u := get(t, s, c)
				if n, err := u.Pick(&Pick{}); !errors.Is(err, ErrNoNodes) {
					t.Errorf("got %v, %v", n, err)
				}
				if u.Retries() != 0 {
					t.Errorf("%d retries", u.Retries())
				}
			})
		}
	}
}

func TestSingleNodeIsTriedAgain(t *testing.T) {
	s := newSet(t, Options{})
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			u := get(t, s, letters(typ, 1))
			p := Pick{Now: 1}
			for range 3 {
				n, err := u.Pick(&p)
				if err != nil {
					t.Fatal(err)
				}
				u.Report(n, ConnectError, 0, 1)
				u.Release(n)
			}
		})
	}
}

func TestPickReset(t *testing.T) {
	s := newSet(t, Options{})
	u := get(t, s, letters("roundrobin", 1, 1))
	var p Pick
	for range 3 {
		if got, err := attempts(u, &p); len(got) != 2 || !errors.Is(err, ErrTried) {
			t.Fatalf("attempts %v, %v", got, err)
		}
		p.Reset()
	}
}

// Whatever happened before: a pick has weight, is not one that was tried while untried nodes are left, and is healthy when an untried healthy
// node exists.
func TestPickProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			s := newSet(t, Options{Loops: 3})
			for round := range 100 {
				c := conf(typ)
				size := 1 + rnd.IntN(12)
				if round%50 == 0 {
					size = 300 // more than the inline bits
				}
				for i := range size {
					c.Nodes = append(c.Nodes, snapshot.Node{Host: "10.0.0.1", Port: i + 1, Weight: rnd.IntN(4), Priority: rnd.IntN(3)})
				}
				c.Resource = fmt.Sprint("/upstreams/", typ, round)
				u := get(t, s, c)
				nodes := u.Nodes()
				for _, n := range nodes {
					n.SetHealthy(rnd.IntN(3) > 0)
				}
				anyHealthy := false
				for _, n := range nodes {
					anyHealthy = anyHealthy || n.Healthy()
				}
				now := int64(1)
				for range 20 {
					p := Pick{Loop: rnd.IntN(5), Now: now, Key: fmt.Append(nil, rnd.Int())}
					tried := map[uint64]bool{}
					for {
						n, err := u.Pick(&p)
						if err != nil {
							left := 0
							for _, m := range nodes {
								if !tried[m.ID] && (m.Healthy() || !anyHealthy) {
									left++
								}
							}
							if errors.Is(err, ErrTried) && left > 0 || errors.Is(err, ErrNoNodes) && len(nodes) > 0 {
								t.Fatalf("%v with %d nodes left", err, left)
							}
							break
						}
						if n.Weight == 0 {
							t.Fatal("picked weight 0")
						}
						if tried[n.ID] && len(nodes) > 1 {
							t.Fatal("picked a node twice")
						}
						if anyHealthy && !n.Healthy() && len(nodes) > 1 {
							t.Fatal("picked an unhealthy node")
						}
						tried[n.ID] = true
						u.Report(n, Event(rnd.IntN(5)), 1e6, now)
						u.Release(n)
						if len(nodes) == 1 {
							break
						}
					}
					now += rnd.Int64N(3e9)
				}
				for _, n := range nodes {
					if n.InFlight() != 0 {
						t.Fatalf("%d in flight at the end", n.InFlight())
					}
				}
			}
		})
	}
}

// Run under the race detector: loops pick, report and release while health changes and configurations come and go.
func TestConcurrentUse(t *testing.T) {
	for _, typ := range types {
		t.Run(typ, func(t *testing.T) {
			s := newSet(t, Options{Loops: 8})
			c := letters(typ, 3, 2, 1, 7, 1)
			if typ == "roundrobin" {
				c = letters(typ, 3, 2, 1, 70_000, 1) // too long for a kept sequence
			}
			u := get(t, s, c)
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					rnd := rand.New(rand.NewPCG(uint64(g), 1))
					var p Pick
					for i := range 2000 {
						p.Reset()
						p.Loop, p.Now, p.Key = g, int64(i)*1e6+1, fmt.Append(p.Key[:0], i)
						for try := range 1 + rnd.IntN(3) {
							n, err := u.Pick(&p)
							if try > 0 && errors.Is(err, ErrTried) {
								break // health leaves fewer nodes
							}
							if err != nil {
								t.Error(err)
								return
							}
							u.Report(n, Event(rnd.IntN(5)), 1e6, p.Now)
							u.Release(n)
						}
						if g == 0 && i%100 == 0 {
							u.Nodes()[rnd.IntN(5)].SetHealthy(i%200 == 0)
							u.rebuild()
						}
						if g == 1 && i%100 == 0 {
							d := letters(typ, 1, 1)
							if _, err := s.Get(d); err != nil {
								t.Error(err)
							}
							s.Retain(func(x *snapshot.Upstream) bool { return x != d })
						}
					}
				})
			}
			wg.Wait()
			for _, n := range u.Nodes() {
				if n.InFlight() != 0 {
					t.Errorf("%s: %d in flight", n.HostPort, n.InFlight())
				}
			}
		})
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for _, typ := range types {
		for _, size := range []int{1, 3, 400} {
			t.Run(fmt.Sprint(typ, " ", size), func(t *testing.T) {
				s := newSet(t, Options{Loops: 2})
				c := conf(typ)
				for i := range size {
					c.Nodes = append(c.Nodes, snapshot.Node{Host: "10.0.0.1", Port: i + 1, Weight: 1 + i%3})
				}
				u := get(t, s, c)
				var p Pick
				key := []byte("key")
				allocs := testing.AllocsPerRun(500, func() {
					p.Reset()
					p.Now, p.Key = 1, key
					n, err := u.Pick(&p)
					if err != nil {
						t.Fatal(err)
					}
					u.Report(n, Success, 1e6, p.Now)
					u.Release(n)
				})
				if allocs != 0 {
					t.Errorf("%v allocations", allocs)
				}
			})
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, typ := range types {
		for _, size := range []int{1, 10, 1000} {
			b.Run(fmt.Sprint(typ, "/", size), func(b *testing.B) {
				s := newSet(b, Options{Loops: 2})
				c := conf(typ)
				for i := range size {
					c.Nodes = append(c.Nodes, snapshot.Node{Host: "10.0.0.1", Port: i + 1, Weight: 1 + i%3})
				}
				u := get(b, s, c)
				var p Pick
				key := []byte("127.0.0.1")
				b.ReportAllocs()
				for b.Loop() {
					p.Reset()
					p.Now, p.Key = 1, key
					n, err := u.Pick(&p)
					if err != nil {
						b.Fatal(err)
					}
					u.Report(n, Success, 1e6, 1)
					u.Release(n)
				}
			})
		}
	}
}
