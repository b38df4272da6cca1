package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

func TestUpdate(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/old")})
	rev, events, err := f.write(put("routes/1", route("/new")), put("routes/2", route("/second")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a prepares", "b prepares", "store writes", "a commits", "b commits"}, f.log.take()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, p := range []*plane{f.a, f.b} {
		if diff := cmp.Diff([]string{"/new", "/second"}, p.uris()); diff != "" {
			t.Errorf("%s serves (-want +got):\n%s", p.name, diff)
		}
	}
	if len(events) != 2 || events[0].Object.Create >= rev || events[0].Object.Mod != rev || events[0].Prev == nil ||
		events[1].Object.Create != rev || events[1].Prev != nil {
		t.Errorf("events %+v at revision %d", events, rev)
	}
	if got := f.ctl.View().Get(key("routes/2")); got == nil || got.Create != rev || string(got.Value) != route("/second") {
		t.Errorf("view has %+v", got)
	}
	if s := f.ctl.Snapshot(); s != f.a.current() || s.Rev != int64(rev) || s.Routes[1].Created != int64(rev) {
		t.Errorf("snapshot %+v at revision %d", s, rev)
	}
	if st := f.ctl.Status(); st.Rev != rev || st.Served != rev || st.Degraded || st.Commits != 2 {
		t.Errorf("status %+v", st)
	}
}

func TestUpdateSeesAndReturns(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/old")})
	own := errors.New("own error")
	for _, tt := range []struct {
		name string
		fn   func(compile.View) ([]store.Op, error)
		want error
		text string
	}{
		{"its error", func(compile.View) ([]store.Op, error) { return nil, own }, own, "own error"},
		{"nothing", func(compile.View) ([]store.Op, error) { return nil, nil }, nil, ""},
		{"a condition", func(v compile.View) ([]store.Op, error) {
			op := put("routes/1", route("/x"))
			op.IfMod = v.Get(op.Key).Mod + 1
			return []store.Op{op}, nil
		}, store.ErrConflict, "operation 0 on /routes/1: condition does not hold"},
		{"an absent key", func(compile.View) ([]store.Op, error) {
			return []store.Op{{Key: key("routes/9")}}, nil
		}, store.ErrNotFound, "operation 0 on /routes/9: key not found"},
		{"a panic", func(compile.View) ([]store.Op, error) { panic("oh") }, nil, "update panicked: oh"},
		{"a malformed transaction", func(compile.View) ([]store.Op, error) {
			return []store.Op{put("routes/1", route("/x")), put("routes/1", route("/y"))}, nil
		}, store.ErrInvalid, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rev, events, err := f.ctl.Update(context.Background(), tt.fn)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("err = %v, want %v", err, tt.want)
			}
			if tt.text != "" && (err == nil || err.Error() != tt.text) {
				t.Errorf("err = %v, want %q", err, tt.text)
			}
			if err == nil && (rev != 1 || events != nil) {
				t.Errorf("revision %d, events %v", rev, events)
			}
			if diff := cmp.Diff([]string{"/old"}, f.a.uris()); diff != "" {
				t.Errorf("served (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusalChangesNothing(t *testing.T) {
	full := errors.New("no room")
	for _, tt := range []struct {
		name  string
		set   func(*fixture)
		ops   []store.Op
		want  string
		is    error
		steps []string
	}{
		{"compile", func(*fixture) {}, []store.Op{put("routes/1", `{"uri":"/","plugins":{"echo":{"bad":true}}}`)},
			"failed to check the configuration of plugin echo err: bad configuration", nil, nil},
		{"a route breaks", func(*fixture) {}, []store.Op{put("upstreams/u", `{"type":"roundrobin","nodes":{"127.0.0.1":1}}`)},
			`/stream_routes/s: node "127.0.0.1" of upstream upstreams/u has no port, which a stream route needs: write host:port`, nil, nil},
		{"second plane", func(f *fixture) { f.b.setRefuse(func(*snapshot.Snapshot) error { return full }) },
			[]store.Op{put("routes/1", route("/new"))}, "prepare b: no room", full, []string{"a prepares", "b refuses", "a aborts"}},
		{"panic", func(f *fixture) { f.a.setRefuse(func(*snapshot.Snapshot) error { panic("oh") }) },
			[]store.Op{put("routes/1", route("/new"))}, "prepare a: panic: oh", nil, nil},
		{"store", func(f *fixture) { f.store.set(store.ErrNoSpace, nil) },
			[]store.Op{put("routes/1", route("/new"))}, "store change: no space left for the store", store.ErrNoSpace,
			[]string{"a prepares", "b prepares", "store fails", "a aborts", "b aborts"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, map[string]string{
				"routes/1":        route("/old"),
				"upstreams/u":     `{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}`,
				"stream_routes/s": `{"upstream_id":"u"}`,
			})
			before, view := f.ctl.Snapshot(), f.ctl.View()
			tt.set(f)
			_, _, err := f.write(tt.ops...)
			if err == nil || err.Error() != tt.want {
				t.Errorf("err = %v, want %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("err = %v, want %v in it", err, tt.is)
			}
			var refused *RefusedError
			if got, want := errors.As(err, &refused), tt.name != "store"; got != want {
				t.Errorf("RefusedError: %t", got)
			}
			if diff := cmp.Diff(tt.steps, f.log.take()); diff != "" && tt.steps != nil {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
			if f.ctl.Snapshot() != before || f.a.current() != before || f.b.current() != before || f.ctl.View() != view {
				t.Error("something changed")
			}
			if _, rev, err := f.store.All(context.Background()); err != nil || rev != view.Rev() {
				t.Errorf("store is at %d, %v", rev, err)
			}
			f.a.setRefuse(nil)
			f.b.setRefuse(nil)
			f.store.set(nil, nil)
			if _, _, err := f.write(put("routes/1", route("/new"))); err != nil {
				t.Errorf("later update: %v", err)
			}
		})
	}
}

func TestForcedDeleteLeavesTheRoute(t *testing.T) {
	f := newFixture(t, map[string]string{
		"upstreams/u": `{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}`,
		"routes/1":    `{"uri":"/","upstream_id":"u"}`,
	})
	if _, _, err := f.write(store.Op{Key: key("upstreams/u")}); err != nil {
		t.Fatal(err)
	}
	if s := f.a.current(); len(s.Routes) != 1 || s.Routes[0].Upstream != nil || len(f.ctl.Status().Problems) != 1 {
		t.Errorf("snapshot %+v", s)
	}
}

func TestStartLeavesBrokenObjectsOut(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/good"), "routes/2": `{"uri":"/","plugins":{"nope":{}}}`})
	if diff := cmp.Diff([]string{"/good"}, f.a.uris()); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	want := []snapshot.Problem{{Key: "/routes/2", Err: "unknown plugin [nope]"}}
	if diff := cmp.Diff(want, f.ctl.Status().Problems); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestStartFails(t *testing.T) {
	memory := store.NewMemory()
	defer memory.Close()
	p := &plane{name: "a", log: &eventLog{}, refuse: func(*snapshot.Snapshot) error { return errors.New("no") }}
	ctl := New(memory, compile.New(compile.Options{Plugins: plugins{}}), slog.New(slog.DiscardHandler), p)
	if err := ctl.Start(context.Background()); err == nil || err.Error() != "start with revision 0: prepare a: no" {
		t.Errorf("err = %v", err)
	}
	if _, _, err := ctl.Update(context.Background(), nil); !errors.Is(err, store.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := ctl.Close(); err != nil {
		t.Error(err)
	}
}

func TestFollowsTheStore(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/one")})
	other := f.store.Store
	if _, _, err := other.Txn(context.Background(), []store.Op{put("routes/2", route("/two"))}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new route", func() bool { return len(f.a.current().Routes) == 2 })
	t.Run("a broken object stays in its last version", func(t *testing.T) {
		if _, _, err := other.Txn(context.Background(), []store.Op{put("routes/2", `{"uri":"/x","plugins":{"nope":{}}}`)}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the problem", func() bool { return len(f.ctl.Status().Problems) == 1 })
		if diff := cmp.Diff([]string{"/one", "/two"}, f.a.uris()); diff != "" {
			t.Errorf("served (-want +got):\n%s", diff)
		}
	})
	t.Run("expiry", func(t *testing.T) {
		op := put("routes/3", route("/three"))
		op.TTL = time.Millisecond
		if _, _, err := f.write(op); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the expiry", func() bool { return f.ctl.View().Get(op.Key) == nil && len(f.a.current().Routes) == 2 })
	})
}

func TestRefusedForeignChangeIsTriedAgain(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/one")})
	f.b.setRefuse(func(s *snapshot.Snapshot) error {
		if len(s.Routes) > 1 {
			return errors.New("too many")
		}
		return nil
	})
	rev, _, err := f.store.Store.Txn(context.Background(), []store.Op{put("routes/2", route("/two"))})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal", func() bool { return f.ctl.Status().Degraded })
	st := f.ctl.Status()
	if st.Rev != rev || st.Served != rev-1 || !st.Planes[1].Degraded || st.Planes[0].Degraded || st.Planes[1].LastError != "too many" {
		t.Errorf("status %+v", st)
	}
	if diff := cmp.Diff([]string{"/one"}, f.a.uris()); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	f.b.setRefuse(nil)
	eventually(t, "the second try", func() bool { return !f.ctl.Status().Degraded })
	if diff := cmp.Diff([]string{"/one", "/two"}, f.a.uris()); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
}

func TestOthersWriteBeforeTheTransaction(t *testing.T) {
	f := newFixture(t, map[string]string{"routes/1": route("/one"), "routes/2": route("/two")})
	f.store.set(nil, func() {
		ops := []store.Op{put("routes/1", route("/theirs")), {Key: key("routes/2")}, put("routes/3", route("/three"))}
		if _, _, err := f.store.Store.Txn(context.Background(), ops); err != nil {
			t.Error(err)
		}
	})
	rev, _, err := f.write(put("routes/1", route("/ours")), put("routes/2", route("/again")))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/ours", "/three", "/again"}, f.a.uris()); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	if st := f.ctl.Status(); st.Rev != rev || st.Served != rev || st.Degraded {
		t.Errorf("status %+v", st)
	}
	if got := f.ctl.View().Get(key("routes/2")); got.Create != rev {
		t.Errorf("routes/2 was created at %d, want %d", got.Create, rev)
	}
}

// lossy ends its watches on demand.
type lossy struct {
	store.Store
	mu     sync.Mutex
	cancel context.CancelFunc
}

func (l *lossy) Watch(ctx context.Context, from store.Rev) (<-chan store.Batch, error) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel = cancel
	return l.Store.Watch(ctx, from)
}

func (l *lossy) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cancel()
}

func TestWatchEnds(t *testing.T) {
	st := &lossy{Store: store.NewMemory()}
	p := &plane{name: "a", log: &eventLog{}}
	ctl := New(st, compile.New(compile.Options{Plugins: plugins{}}), slog.New(slog.DiscardHandler), p)
	if err := ctl.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer ctl.Close()
	for i := range 5 {
		st.lose()
		if _, _, err := st.Store.Txn(context.Background(), []store.Op{put(fmt.Sprintf("routes/their%d", i), route("/their"))}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) {
			return []store.Op{put(fmt.Sprintf("routes/our%d", i), route("/our"))}, nil
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "both routes", func() bool { return len(p.current().Routes) == 2*(i+1) })
	}
}

func TestConcurrentUpdates(t *testing.T) {
	const writers, each = 200, 5
	f := newFixture(t, map[string]string{"routes/counter": route("/0")})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				path := fmt.Sprintf("routes/%d-%d", w, i)
				rev, events, err := f.write(put(path, route("/"+path)))
				if err != nil || len(events) != 1 || events[0].Key != key(path) || events[0].Object.Mod != rev {
					t.Errorf("%s: revision %d, events %v, err %v", path, rev, events, err)
				}
				// A refused update takes nobody with it.
				if _, _, err := f.write(put("routes/bad", `{"uri":"/","plugins":{"echo":{"bad":true}}}`)); err == nil {
					t.Error("bad route was accepted")
				}
			}
			// Everybody changes the same object, each on the state that the others left.
			_, _, err := f.ctl.Update(context.Background(), func(v compile.View) ([]store.Op, error) {
				o := v.Get(key("routes/counter"))
				var doc struct{ URI string }
				if err := json.Unmarshal(o.Value, &doc); err != nil {
					return nil, err
				}
				var n int
				if _, err := fmt.Sscanf(doc.URI, "/%d", &n); err != nil {
					return nil, err
				}
				op := put("routes/counter", route(fmt.Sprintf("/%d", n+1)))
				op.IfMod = o.Mod
				return []store.Op{op}, nil
			})
			if err != nil {
				t.Errorf("counter: %v", err)
			}
		})
	}
	wg.Wait()
	if got, want := len(f.a.current().Routes), writers*each+1; got != want {
		t.Errorf("%d routes are served, want %d", got, want)
	}
	if got := f.a.uris()[0]; got != fmt.Sprintf("/%d", writers) {
		t.Errorf("counter is at %s", got)
	}
	list, rev, err := f.store.All(context.Background())
	if err != nil || len(list) != writers*each+1 || f.ctl.Status().Served != rev {
		t.Errorf("store has %d objects at %d, %v; status %+v", len(list), rev, err, f.ctl.Status())
	}
	full := compile.New(compile.Options{Plugins: plugins{}}).Compile(nil, f.ctl.View())
	if diff := cmp.Diff(full.Snapshot, f.ctl.Snapshot()); diff != "" {
		t.Errorf("served differs from a full compilation:\n%s", diff)
	}
}

func TestWaitingUpdatesShareOneWrite(t *testing.T) {
	f := newFixture(t, nil)
	// The first update holds the controller until the others wait.
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := f.ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) {
			close(held)
			<-release
			return nil, nil
		}); err != nil {
			t.Error(err)
		}
	})
	<-held
	for i := range 50 {
		wg.Go(func() {
			if _, _, err := f.write(put(fmt.Sprintf("routes/%d", i), route("/"))); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the queue", func() bool {
		f.ctl.queue.mu.Lock()
		defer f.ctl.queue.mu.Unlock()
		return len(f.ctl.queue.requests) == 50
	})
	close(release)
	wg.Wait()
	if f.store.txns != 1 {
		t.Errorf("%d transactions, want 1", f.store.txns)
	}
}

func TestUpdateIsGivenUp(t *testing.T) {
	f := newFixture(t, nil)
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _, _ = f.ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) {
			close(held)
			<-release
			return nil, nil
		})
	})
	<-held
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		_, _, err := f.ctl.Update(ctx, func(compile.View) ([]store.Op, error) {
			t.Error("the update was carried out")
			return nil, nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("err = %v", err)
		}
	})
	eventually(t, "the queue", func() bool {
		f.ctl.queue.mu.Lock()
		defer f.ctl.queue.mu.Unlock()
		return len(f.ctl.queue.requests) == 1
	})
	cancel()
	eventually(t, "the end of the wait", func() bool {
		f.ctl.queue.mu.Lock()
		defer f.ctl.queue.mu.Unlock()
		return f.ctl.queue.requests[0].taken.Load()
	})
	close(release)
	wg.Wait()
}

func TestCloseEndsUpdates(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.ctl.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.write(put("routes/1", route("/"))); !errors.Is(err, store.ErrClosed) {
		t.Errorf("err = %v", err)
	}
}
