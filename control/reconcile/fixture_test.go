package reconcile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// plugins is a Plugins with one plugin, which refuses the configuration {"bad": true}.
type plugins struct{}

func (plugins) Plugin(name string) (*compile.PluginInfo, bool) {
	return echo, name == echo.Name
}

func (plugins) All() []*compile.PluginInfo { return []*compile.PluginInfo{echo} }

var echo = &compile.PluginInfo{
	Name: "echo", HTTP: true,
	Check: func(_ compile.SchemaKind, conf json.RawMessage) error {
		if string(conf) == `{"bad":true}` {
			return errors.New("bad configuration")
		}
		return nil
	},
}

// plane records what happens to it, and refuses when told to.
type plane struct {
	name string
	log  *eventLog

	mu     sync.Mutex
	refuse func(*snapshot.Snapshot) error
	served *snapshot.Snapshot
}

// eventLog is what happened on all planes and in the store.
type eventLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *eventLog) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *eventLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

func (p *plane) Name() string { return p.name }

func (p *plane) Prepare(_ context.Context, s *snapshot.Snapshot) (Prepared, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse != nil {
		if err := p.refuse(s); err != nil {
			p.log.add("%s refuses", p.name)
			return nil, err
		}
	}
	p.log.add("%s prepares", p.name)
	return &prepared{p, s}, nil
}

func (p *plane) setRefuse(f func(*snapshot.Snapshot) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = f
}

func (p *plane) current() *snapshot.Snapshot {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.served
}

type prepared struct {
	plane    *plane
	snapshot *snapshot.Snapshot
}

func (p *prepared) Commit() {
	p.plane.mu.Lock()
	defer p.plane.mu.Unlock()
	p.plane.log.add("%s commits", p.plane.name)
	p.plane.served = p.snapshot
}

func (p *prepared) Abort() { p.plane.log.add("%s aborts", p.plane.name) }

// brittle is a store that fails when told to, and lets others write just before a transaction.
type brittle struct {
	store.Store
	log *eventLog

	mu     sync.Mutex
	err    error
	before func()
	txns   int
}

func (b *brittle) Txn(ctx context.Context, ops []store.Op) (store.Rev, []store.Event, error) {
	b.mu.Lock()
	err, before := b.err, b.before
	b.before = nil
	b.txns++
	b.mu.Unlock()
	if before != nil {
		before()
	}
	if err != nil {
		b.log.add("store fails")
		return 0, nil, err
	}
	b.log.add("store writes")
	return b.Store.Txn(ctx, ops)
}

func (b *brittle) set(err error, before func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.before = err, before
}

// fixture is a started controller on a memory store with two planes.
type fixture struct {
	tb    testing.TB
	store *brittle
	ctl   *Controller
	a, b  *plane
	log   *eventLog
}

func newFixture(tb testing.TB, seed map[string]string) *fixture {
	tb.Helper()
	memory := store.NewMemory()
	log := &eventLog{}
	f := &fixture{tb: tb, store: &brittle{Store: memory, log: log}, log: log,
		a: &plane{name: "a", log: log}, b: &plane{name: "b", log: log}}
	for _, path := range sortedKeys(seed) {
		if _, _, err := memory.Txn(context.Background(), []store.Op{put(path, seed[path])}); err != nil {
			tb.Fatal(err)
		}
	}
	f.ctl = New(f.store, compile.New(compile.Options{Plugins: plugins{}}), slog.New(slog.DiscardHandler), f.a, f.b)
	tb.Cleanup(func() {
		if err := f.ctl.Close(); err != nil {
			tb.Error(err)
		}
		if err := memory.Close(); err != nil {
			tb.Error(err)
		}
	})
	if err := f.ctl.Start(context.Background()); err != nil {
		tb.Fatal(err)
	}
	log.take()
	return f
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// key reads "routes/1".
func key(path string) model.Key {
	for i := range path {
		if path[i] == '/' {
			return model.Key{Kind: model.Kind(path[:i]), ID: path[i+1:]}
		}
	}
	return model.Key{}
}

func put(path, value string) store.Op {
	return store.Op{Key: key(path), Value: json.RawMessage(value)}
}

func route(uri string) string {
	return fmt.Sprintf(`{"uri":%q,"upstream":{"type":"roundrobin","nodes":{"127.0.0.1:80":1}}}`, uri)
}

// write makes an update of these operations.
func (f *fixture) write(ops ...store.Op) (store.Rev, []store.Event, error) {
	return f.ctl.Update(context.Background(), func(compile.View) ([]store.Op, error) { return ops, nil })
}

// uris are the URIs that a plane serves.
func (p *plane) uris() []string {
	var uris []string
	for _, r := range p.current().Routes {
		uris = append(uris, r.URIs...)
	}
	return uris
}

// eventually waits until a condition holds. What it waits for happens on another goroutine of this process.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			tb.Fatalf("%s does not happen", what)
		}
		<-tick.C
	}
}
