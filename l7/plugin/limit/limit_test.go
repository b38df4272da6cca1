package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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
