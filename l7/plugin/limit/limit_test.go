package limit

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const second = int64(time.Second)

func TestFixed(t *testing.T) {
	w := NewWindows(0)
	for i, want := range []Decision{{true, 1, 60 * second}, {true, 0, 59 * second}, {false, 0, 58 * second}} {
		if got := w.Fixed([]byte("a"), int64(i)*second, 2, 60*second, 1); got != want {
			t.Errorf("request %d: %+v, want %+v", i, got, want)
		}
	}
	if d := w.Fixed([]byte("b"), 0, 2, 60*second, 1); !d.Allowed || d.Remaining != 1 {
		t.Errorf("another key: %+v", d)
	}
	if d := w.Fixed([]byte("a"), 60*second, 2, 60*second, 1); !d.Allowed || d.Remaining != 1 || d.Reset != 60*second {
		t.Errorf("the next window: %+v", d)
	}
}

func TestSliding(t *testing.T) {
	w := NewWindows(0)
	at := func(now int64) bool { return w.Sliding([]byte("a"), now, 4, 10*second, 1).Allowed }
	for i := range 4 {
		if !at(int64(i) * second) {
			t.Fatalf("request %d is refused", i)
		}
	}
	if at(9 * second) {
		t.Error("a fifth request is let through in the first window")
	}
	// Half of the last window still counts 2.
	if first, second, third := at(15*second), at(15*second), at(15*second); !first || !second || third {
		t.Error("want two requests at half of the next window")
	}
	if !at(45 * second) {
		t.Error("refused after two quiet windows")
	}
}

func TestBuckets(t *testing.T) {
	b := NewBuckets(0)
	key := []byte("a")
	if d, ok := b.Take(key, 0, 2, 2); !ok || d != 0 {
		t.Errorf("first: %d %v", d, ok)
	}
	if d, ok := b.Take(key, 0, 2, 2); !ok || d != second/2 {
		t.Errorf("second: %d %v", d, ok)
	}
	if d, ok := b.Take(key, 0, 2, 2); !ok || d != second {
		t.Errorf("third: %d %v", d, ok)
	}
	if _, ok := b.Take(key, 0, 2, 2); ok {
		t.Error("the fourth overflows no bucket")
	}
	if d, ok := b.Take(key, second, 2, 2); !ok || d != second/2 {
		t.Errorf("after a second: %d %v", d, ok)
	}
}

func TestConns(t *testing.T) {
	c := NewConns(0)
	key := []byte("a")
	for want := int64(1); want <= 2; want++ {
		if n, ok := c.Enter(key, 0, 2); !ok || n != want {
			t.Errorf("enter: %d %v", n, ok)
		}
	}
	if _, ok := c.Enter(key, 0, 2); ok {
		t.Error("a third enters")
	}
	c.Leave(key, 0)
	if n, ok := c.Enter(key, 0, 2); !ok || n != 2 {
		t.Errorf("after one left: %d %v", n, ok)
	}
}

func TestNeverMoreThanTheLimit(t *testing.T) {
	w := NewWindows(0)
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 1000 {
				if w.Fixed([]byte("a"), 1, 777, second, 1).Allowed {
					allowed.Add(1)
				}
			}
		}()
	}
	wg.Wait()
	if allowed.Load() != 777 {
		t.Errorf("%d of 8000 requests were let through, want 777", allowed.Load())
	}
}

func TestKeysAreBounded(t *testing.T) {
	w := NewWindows(stripes * 4)
	for i := range 20_000 {
		w.Fixed(fmt.Appendf(nil, "key %d", i), int64(i), 1, second, 1)
	}
	if n := w.t.Len(); n > stripes*4 {
		t.Errorf("%d keys are kept, want at most %d", n, stripes*4)
	}
}

func TestExpiredKeysMakeRoom(t *testing.T) {
	w := NewWindows(0)
	for i := range 20_000 {
		w.Fixed(fmt.Appendf(nil, "key %d", i), int64(i)*second, 1, second, 1)
	}
	if n := w.t.Len(); n > 2000 {
		t.Errorf("%d keys are kept of 20,000 that expired one after the other", n)
	}
}

func TestDoDoesNotAllocate(t *testing.T) {
	w, b, c := NewWindows(0), NewBuckets(0), NewConns(0)
	key := []byte("a")
	f := func() {
		w.Fixed(key, 1, 1<<40, second, 1)
		w.Sliding(key, 1, 1<<40, second, 1)
		b.Take(key, 1, 1e9, 1e9)
		c.Enter(key, 1, 10)
		c.Leave(key, 1)
	}
	f()
	if n := testing.AllocsPerRun(100, f); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFixed(b *testing.B) {
	w := NewWindows(0)
	key := []byte("/routes/1:1234567:127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		w.Fixed(key, 1, 1<<40, second, 1)
	}
}

func TestClocksOutOfOrder(t *testing.T) {
	w, b := NewWindows(0), NewBuckets(0)
	key := []byte("a")
	w.Sliding(key, 20*second, 1, 10*second, 1)
	if w.Sliding(key, 20*second-1, 1, 10*second, 1).Allowed {
		t.Error("a late request finds the window of before, empty")
	}
	if d := w.Fixed([]byte("f"), 5*second, 2, 10*second, 1); d.Reset != 10*second {
		t.Errorf("reset %d", d.Reset)
	}
	if d := w.Fixed([]byte("f"), 4*second, 2, 10*second, 1); d.Reset != 10*second {
		t.Errorf("reset of a late request %d, want at most the window", d.Reset)
	}
	b.Take(key, 10*second, 1, 1)
	b.Take(key, 9*second, 1, 1)
	if _, ok := b.Take(key, 10*second, 1, 1); ok {
		t.Error("a late request emptied the bucket")
	}
}

func TestSlidingReset(t *testing.T) {
	w := NewWindows(0)
	key := []byte("a")
	for range 4 {
		w.Sliding(key, 10*second, 4, 10*second, 1)
	}
	if d := w.Sliding(key, 12*second, 4, 10*second, 1); d.Allowed || d.Reset != 8*second {
		t.Errorf("full window: %+v, want its end", d)
	}
	// 8 seconds left weigh 3.2, two more make 5.2: at 5 seconds left the estimate is 4.
	w.Sliding(key, 22*second, 4, 10*second, 1)
	w.Sliding(key, 24*second, 4, 10*second, 1)
	if d := w.Sliding(key, 22*second, 4, 10*second, 1); d.Allowed || d.Reset != 3*second {
		t.Errorf("estimate over the limit: %+v, want 3 s", d)
	}
}

func TestConnsInUseStay(t *testing.T) {
	c := NewConns(stripes)
	c.Enter([]byte("busy"), 0, 1)
	for i := range 5000 {
		k := fmt.Appendf(nil, "key %d", i)
		c.Enter(k, int64(i), 1)
		c.Leave(k, int64(i))
	}
	if _, ok := c.Enter([]byte("busy"), 10*3600*second, 1); ok {
		t.Error("a request under way was forgotten")
	}
	if n := c.t.Len(); n > 2*stripes {
		t.Errorf("%d keys are kept", n)
	}
}

func TestTinyRate(t *testing.T) {
	b := NewBuckets(0)
	key := []byte("a")
	b.Take(key, 0, 1e-300, 0)
	if _, ok := b.Take(key, second, 1e-300, 0); ok {
		t.Error("a rate near 0 limits nothing")
	}
}

func TestExactUnderContention(t *testing.T) {
	for _, c := range []struct {
		name string
		want int64
		take func() func(i int64) bool
	}{
		{"fixed, ten windows", 500, func() func(int64) bool {
			w := NewWindows(0)
			return func(i int64) bool { return w.Fixed([]byte("a"), i/100*second, 50, second, 1).Allowed }
		}},
		{"sliding", 300, func() func(int64) bool {
			w := NewWindows(0)
			return func(i int64) bool { return w.Sliding([]byte("a"), second+i%2, 300, second, 1).Allowed }
		}},
		{"bucket", 100, func() func(int64) bool {
			b := NewBuckets(0)
			return func(int64) bool { _, ok := b.Take([]byte("a"), 0, 1, 99); return ok }
		}},
		{"connections", 40, func() func(int64) bool {
			n := NewConns(0)
			return func(int64) bool { _, ok := n.Enter([]byte("a"), 0, 40); return ok }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			take := c.take()
			var allowed atomic.Int64
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for i := range int64(1000) {
						if take(i) {
							allowed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if got := allowed.Load(); got > c.want || got == 0 {
				t.Errorf("%d requests were let through, want at most %d", got, c.want)
			}
		})
	}
}

func TestParseNumber(t *testing.T) {
	for _, c := range []struct {
		raw  string
		zero bool
		want int64
		err  string
	}{
		{`7`, false, 7, ""},
		{`7.0`, false, 7, ""},
		{`"10.0"`, false, 10, ""},
		{`"\u0037"`, false, 7, ""},
		{`"0"`, true, 0, ""},
		{`"0"`, false, 0, "resolved value must be a positive number, got: 0"},
		{`"-1"`, true, 0, "resolved value must be a non-negative number, got: -1"},
		{`"2.5"`, false, 0, "resolved value must be an integer, got: 2.5"},
		{`"9007199254740992"`, false, 0, "resolved value exceeds safe integer range (2^53-1), got: 9007199254740992"},
		{`"1e999"`, false, 0, "resolved value exceeds safe integer range (2^53-1), got: 1e999"},
		{`"nan"`, false, 0, `resolved value is not a number: "nan"`},
		{`""`, false, 0, `resolved value is not a number: ""`},
		{`1e30`, false, 0, "resolved value exceeds safe integer range (2^53-1), got: 1e30"},
	} {
		t.Run(c.raw, func(t *testing.T) {
			n, err := ParseNumber([]byte(c.raw), c.zero)
			var got int64
			if err == nil {
				got, err = n.Of(&plugin.Exchange{})
			}
			msg := ""
			if err != nil {
				msg = err.Error()
			}
			if got != c.want || msg != c.err {
				t.Errorf("got %d, %q, want %d, %q", got, msg, c.want, c.err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"1", "0", "-1", "1e3", "2.5", "nan", "-inf", "1e999", "9007199254740992", "0x10", ""} {
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, zero bool) {
		n, err := parse(s, zero)
		if err == nil && (n < 0 || n > maxSafe || n == 0 && !zero) {
			t.Errorf("%q is %d", s, n)
		}
	})
}

func TestKeyIgnoresTheOrderOfFields(t *testing.T) {
	ex := &plugin.Exchange{}
	of := func(conf string) string {
		k, err := NewKey("constant", "v", "", "/routes/1", []byte(conf))
		if err != nil {
			t.Fatal(err)
		}
		return string(k.Of(ex))
	}
	if a, b := of(`{"a":1,"b":2}`), of(`{ "b":2, "a":1 }`); a != b {
		t.Errorf("%s and %s differ", a, b)
	}
	if a, b := of(`{"a":1}`), of(`{"a":2}`); a == b {
		t.Errorf("both are %s", a)
	}
}

// TestLongKeys tests that what a client puts into a key takes no memory, and still is a key of its own.
func TestLongKeys(t *testing.T) {
	tab := NewTable[int](0)
	key := func(i int) []byte { return append(bytes.Repeat([]byte("x"), 32<<10), byte(i), byte(i>>8)) }
	for i := range 100 {
		tab.Do(key(i), 1, func(e *Entry[int], _ bool) { e.Value++; e.Expires = 100 })
	}
	if n := tab.Len(); n != 100 {
		t.Errorf("%d keys, want 100", n)
	}
	for i := range tab.parts {
		for k := range tab.parts[i].m {
			if len(k) > maxKey {
				t.Fatalf("a key of %d bytes is kept", len(k))
			}
		}
	}
	long := key(1)
	if n := testing.AllocsPerRun(100, func() { tab.Do(long, 2, func(e *Entry[int], _ bool) { e.Value++ }) }); n > 0 && !raceEnabled {
		t.Errorf("%v allocations", n)
	}
	tab.Do(long, 3, func(e *Entry[int], fresh bool) {
		if fresh || e.Value < 100 {
			t.Errorf("value %d, fresh %v", e.Value, fresh)
		}
	})
}
