package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/store"
)

// smallOptions have the journal rewritten every few transactions.
var smallOptions = Options{CompactAt: 1500}

// step n of the workload: mostly overwrites, some creates, deletes and transactions of several operations.
func workload(n int) []store.Op {
	value := json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":%q}`, n, sampleRoute[:100]))
	ops := []store.Op{{Key: routeKey(n % 4), Value: value}}
	if n%5 == 0 {
		ops = append(ops, store.Op{Key: routeKey(1000 + n), Value: value})
	}
	if n%5 == 3 {
		ops = append(ops, store.Op{Key: routeKey(1000 + n - 3)})
	}
	return ops
}

const workloadSteps = 24

// content is what a store holds, revisions included.
func content(t *testing.T, s store.Store) []store.Object {
	t.Helper()
	objs, _, err := s.All(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return objs
}

// values are the contents without revisions, which differ when transactions had to be repeated.
func values(objs []store.Object) map[string]string {
	out := map[string]string{}
	for _, o := range objs {
		out[o.Key.String()] = string(o.Value)
	}
	return out
}

// diffObjects is cmp.Diff for the many comparisons that find nothing.
func diffObjects(want, got []store.Object) string {
	same := func(a, b store.Object) bool {
		return a.Key == b.Key && a.Create == b.Create && a.Mod == b.Mod && bytes.Equal(a.Value, b.Value)
	}
	if slices.EqualFunc(want, got, same) {
		return ""
	}
	return cmp.Diff(want, got)
}

// workloadStates returns the values after 0, 1, ... transactions.
func workloadStates(t *testing.T) []map[string]string {
	t.Helper()
	s := store.NewMemory()
	defer s.Close()
	states := []map[string]string{{}}
	for n := range workloadSteps {
		if _, _, err := s.Txn(t.Context(), workload(n)); err != nil {
			t.Fatal(err)
		}
		states = append(states, values(content(t, s)))
	}
	return states
}

// TestCrash cuts the power before every single operation on the file system, that is also between all steps of a
// rewrite, with every kind of loss.
func TestCrash(t *testing.T) {
	states := workloadStates(t)
	run := func(t *testing.T, fs *memFS) (acked int) {
		s, err := open(fs, "/store", smallOptions)
		if err != nil {
			return 0
		}
		defer s.Close()
		for n := range workloadSteps {
			if _, _, err := s.Txn(t.Context(), workload(n)); err != nil {
				return n
			}
		}
		return workloadSteps
	}
	dry := newMemFS()
	renames := 0
	dry.hook(func(_ int, op string) error {
		if op == "rename" {
			renames++
		}
		return nil
	})
	if acked := run(t, dry); acked != workloadSteps || renames < 4 {
		t.Fatalf("without a crash %d transactions and %d rewrites were done", acked, renames)
	}
	for crash := 1; crash <= dry.count()+1; crash++ {
		fs := newMemFS()
		fs.hook(func(n int, _ string) error {
			if n >= crash {
				return errCrash
			}
			return nil
		})
		acked := run(t, fs)
		for _, l := range losses {
			where := fmt.Sprintf("operation %d (%s), %s, %d acknowledged", crash, fs.op(crash), l.name, acked)
			left := fs.after(l)
			s, err := open(left, "/store", smallOptions)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			got := values(content(t, s))
			same := maps.Equal(got, states[acked]) || acked < workloadSteps && maps.Equal(got, states[acked+1])
			if !same || len(s.Recovery().Damaged) > 0 || s.Recovery().LostObjects > 0 {
				t.Fatalf("%s: recovery %+v (-want +got):\n%s", where, s.Recovery(), cmp.Diff(states[acked], got))
			}
			// What it shows now, and what it acknowledges, must survive the next cut.
			shown := content(t, s)
			for _, l2 := range losses {
				again, err := open(left.after(l2), "/store", smallOptions)
				if err != nil {
					t.Fatalf("%s, then %s: %v", where, l2.name, err)
				}
				if diff := diffObjects(shown, content(t, again)); diff != "" {
					t.Fatalf("%s, then %s (-shown +got):\n%s", where, l2.name, diff)
				}
				again.Close()
			}
			if _, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(9), Value: json.RawMessage(`9`)}}); err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			want := content(t, s)
			s.Close()
			for _, l2 := range losses {
				s, err := open(left.after(l2), "/store", smallOptions)
				if err != nil {
					t.Fatalf("%s, then %s: %v", where, l2.name, err)
				}
				if diff := diffObjects(want, content(t, s)); diff != "" {
					t.Fatalf("%s, then %s (-want +got):\n%s", where, l2.name, diff)
				}
				s.Close()
			}
			if names := left.list("journal."); len(names) > 0 {
				t.Fatalf("%s: left over: %v", where, names)
			}
		}
	}
}

// TestFailure has each operation on the file system fail, once or for a while, while the process goes on. Whatever was
// acknowledged must survive a power cut at any later time, and the store must recover by itself.
func TestFailure(t *testing.T) {
	states := workloadStates(t)
	dry := newMemFS()
	s, err := open(dry, "/store", smallOptions)
	if err != nil {
		t.Fatal(err)
	}
	first := dry.count() + 1
	for n := range workloadSteps {
		if _, _, err := s.Txn(t.Context(), workload(n)); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	for _, tt := range []struct {
		name string
		err  error
		want error
		last int
	}{
		{"disk full once", syscall.ENOSPC, store.ErrNoSpace, 0},
		{"quota", syscall.EDQUOT, store.ErrNoSpace, 3},
		{"disk full for a while", syscall.ENOSPC, store.ErrNoSpace, 9},
		{"i/o error once", syscall.EIO, syscall.EIO, 0},
		{"i/o errors for a while", syscall.EIO, syscall.EIO, 4},
		{"remounted read-only", syscall.EROFS, store.ErrReadOnly, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for fail := first; fail <= dry.count(); fail++ {
				fs := newMemFS()
				s, err := open(fs, "/store", smallOptions)
				if err != nil {
					t.Fatal(err)
				}
				fs.hook(func(n int, _ string) error {
					if n >= fail && n <= fail+tt.last {
						return tt.err
					}
					return nil
				})
				check := 0
				for n := range workloadSteps {
					for try := 0; ; try++ {
						_, _, err := s.Txn(t.Context(), workload(n))
						where := fmt.Sprintf("operation %d (%s), transaction %d, try %d", fail, fs.op(fail), n, try)
						if err == nil {
							break
						}
						if !errors.Is(err, tt.want) {
							t.Fatalf("%s: got error %v, want %v", where, err, tt.want)
						}
						if try > 20 {
							t.Fatalf("%s: store does not recover: %v", where, err)
						}
						if got := values(content(t, s)); !maps.Equal(got, states[n]) {
							t.Fatalf("%s: failed transaction shows (-want +got):\n%s", where, cmp.Diff(states[n], got))
						}
					}
					// What a failure breaks shows in the transactions right after it, or at the end.
					if fs.count() >= fail && check < 3 {
						check++
					} else if n != workloadSteps-1 {
						continue
					}
					for _, l := range losses {
						back, err := open(fs.after(l), "/store", smallOptions)
						where := fmt.Sprintf("operation %d (%s), after transaction %d, %s", fail, fs.op(fail), n, l.name)
						if err != nil {
							t.Fatalf("%s: %v", where, err)
						}
						if diff := diffObjects(content(t, s), content(t, back)); diff != "" {
							t.Fatalf("%s (-memory +disk):\n%s", where, diff)
						}
						back.Close()
					}
				}
				s.Close()
			}
		})
	}
}

// TestSyncPrecedesAnswer holds the sync back: nobody may see or be told of the write before it is done, and writers
// that come meanwhile share the next one.
func TestSyncPrecedesAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		s, err := open(fs, "/store", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		watch, err := s.Watch(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var trace []string
		release := make(chan struct{})
		fs.hook(func(_ int, op string) error {
			trace = append(trace, op)
			if op == "sync" {
				<-release
			}
			return nil
		})
		const writers = 17
		acks := make(chan struct{}, writers)
		write := func(n int) {
			if _, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(n), Value: json.RawMessage(`1`)}}); err != nil {
				t.Error(err)
			}
			acks <- struct{}{}
		}
		go write(0)
		synctest.Wait()
		for n := 1; n < writers; n++ {
			go write(n)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"write", "sync"}, trace); diff != "" {
			t.Fatalf("before the sync is done (-want +got):\n%s", diff)
		}
		if len(acks) != 0 || len(watch) != 0 || len(content(t, s)) != 0 {
			t.Fatalf("before the sync is done: %d answers, %d batches, %v", len(acks), len(watch), content(t, s))
		}
		release <- struct{}{}
		synctest.Wait()
		if len(acks) != 1 || len(watch) != 1 || len(content(t, s)) != 1 {
			t.Fatalf("after the first sync: %d answers, %d batches, %v", len(acks), len(watch), content(t, s))
		}
		release <- struct{}{}
		synctest.Wait()
		if len(acks) != writers || len(watch) != writers || len(content(t, s)) != writers {
			t.Fatalf("after the second sync: %d answers, %d batches, %v", len(acks), len(watch), content(t, s))
		}
		if diff := cmp.Diff([]string{"write", "sync", "write", "sync"}, trace); diff != "" {
			t.Fatalf("operations (-want +got):\n%s", diff)
		}
	})
}

// TestGroupFailure fails the write that several transactions share: all of them fail, also one that was refused because
// of another in the same group.
func TestGroupFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		s, err := open(fs, "/store", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		release := make(chan error)
		fs.hook(func(_ int, op string) error {
			if op == "sync" {
				return <-release
			}
			return nil
		})
		const writers = 5
		results := make(chan error, writers+1)
		write := func(n int) {
			_, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(n), Value: json.RawMessage(`1`), IfAbsent: true}})
			results <- err
		}
		go write(-1)
		synctest.Wait()
		for range writers {
			go write(7)
		}
		synctest.Wait()
		release <- nil
		synctest.Wait()
		if err := <-results; err != nil {
			t.Fatal(err)
		}
		release <- syscall.EIO
		synctest.Wait()
		for range writers {
			if err := <-results; !errors.Is(err, syscall.EIO) {
				t.Errorf("got error %v, want an I/O error", err)
			}
		}
		fs.hook(nil)
		if got := content(t, s); len(got) != 1 {
			t.Errorf("store has %v", got)
		}
		go write(7)
		synctest.Wait()
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}

// TestExpiryOnFailingDisk: a deadline holds although it cannot be written down.
func TestExpiryOnFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := newMemFS()
		s, err := open(fs, "/store", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		op := store.Op{Key: routeKey(1), Value: json.RawMessage(`1`), TTL: 90 * time.Minute}
		rev, _, err := s.Txn(t.Context(), []store.Op{op})
		if err != nil {
			t.Fatal(err)
		}
		watch, err := s.Watch(t.Context(), rev)
		if err != nil {
			t.Fatal(err)
		}
		fs.hook(func(int, string) error { return syscall.ENOSPC })
		if b := <-watch; len(b.Events) != 1 || b.Events[0].Object != nil {
			t.Errorf("batch is %+v", b)
		}
		back, err := open(fs.after(losses[0]), "/store", Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		if got := content(t, back); len(got) != 0 {
			t.Errorf("after a restart the store has %v", got)
		}
	})
}

// TestRewriteBoundsFile overwrites a few objects many times.
func TestRewriteBoundsFile(t *testing.T) {
	fs := newMemFS()
	s, err := open(fs, "/store", Options{CompactAt: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2000 {
		if _, _, err := s.Txn(t.Context(), []store.Op{{Key: routeKey(n % 10), Value: sampleRoute}}); err != nil {
			t.Fatal(err)
		}
	}
	want := content(t, s)
	s.Close()
	data, err := fs.readFile("/store/journal")
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 70<<10 {
		t.Errorf("journal of 10 objects has %d bytes", len(data))
	}
	s, err = open(fs, "/store", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if diff := diffObjects(want, content(t, s)); diff != "" {
		t.Errorf("after rewrites (-want +got):\n%s", diff)
	}
}
