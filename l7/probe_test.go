package l7_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7/plugin"
)

// probeConf says what a probe does in each phase.
type probeConf struct {
	Tag                                                         string
	Rewrite, Access, BeforeProxy, HeaderFilter, BodyFilter, Log string
	Body                                                        int64
	Waits                                                       bool
}

// probe is a plugin that does what its configuration says and notes that it was there.
type probe struct{ c probeConf }

var (
	_ plugin.Rewriter       = (*probe)(nil)
	_ plugin.Accesser       = (*probe)(nil)
	_ plugin.BeforeProxier  = (*probe)(nil)
	_ plugin.HeaderFilterer = (*probe)(nil)
	_ plugin.BodyFilterer   = (*probe)(nil)
	_ plugin.Logger         = (*probe)(nil)
	_ plugin.Waiter         = (*probe)(nil)
	_ plugin.BodyReader     = (*probe)(nil)
	_ plugin.Closer         = (*probe)(nil)
)

// The priorities give the order high, mid, low inside a phase.
func init() {
	for name, priority := range map[string]int{"probe-high": 300, "probe-mid": 200, "probe-low": 100} {
		plugin.Register(plugin.Def{Name: name, Priority: priority, Schema: []byte(`{}`), New: newProbe})
	}
}

func newProbe(conf []byte, _ *plugin.Env) (plugin.Instance, error) {
	p := &probe{}
	if err := json.Unmarshal(conf, &p.c); err != nil {
		return nil, err
	}
	if p.c.Tag == "refused" {
		return nil, errors.New("refused by the plugin")
	}
	notes.made.Add(1)
	return p, nil
}

// notes is what the probes saw since the last reset. The plane makes the instances, so they cannot get it from a test.
var notes struct {
	sync.Mutex
	phases       []string
	entered      chan struct{} // gets a value when a probe begins to block
	gate         chan struct{} // what blocking probes wait for
	made, closed atomic.Int64
}

func resetNotes() {
	notes.Lock()
	defer notes.Unlock()
	notes.phases, notes.entered, notes.gate = nil, make(chan struct{}, 100), make(chan struct{})
	notes.made.Store(0)
	notes.closed.Store(0)
}

func note(s string) {
	notes.Lock()
	defer notes.Unlock()
	notes.phases = append(notes.phases, s)
}

func noted() []string {
	notes.Lock()
	defer notes.Unlock()
	return append([]string(nil), notes.phases...)
}

// countNotes counts the notes that begin so.
func countNotes(prefix string) (n int) {
	for _, s := range noted() {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func (p *probe) do(ex *plugin.Exchange, phase, action string) (*plugin.Reply, error) {
	note(p.c.Tag + " " + phase)
	switch action {
	case "reply":
		return plugin.Exit(418, []byte(p.c.Tag+" "+phase)), nil
	case "error":
		return nil, errors.New("out of order")
	case "panic":
		panic("boom in " + phase)
	case "delay":
		ex.Delay = 50 * time.Millisecond
	case "block":
		notes.Lock()
		entered, gate := notes.entered, notes.gate
		notes.Unlock()
		entered <- struct{}{}
		select {
		case <-gate:
		case <-ex.Context().Done():
			note(p.c.Tag + " cancelled")
		}
	case "body":
		note(fmt.Sprintf("%s body %q", p.c.Tag, ex.Request.Body))
	case "set body":
		ex.SetBody([]byte("replaced"))
	case "jack":
		ex.SetConsumer(ex.Consumers.ByName("jack"))
	case "early":
		ex.Response.Early.SetString("X-Early", p.c.Tag)
	}
	return nil, nil
}

func (p *probe) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	return p.do(ex, "rewrite", p.c.Rewrite)
}

func (p *probe) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	return p.do(ex, "access", p.c.Access)
}

func (p *probe) BeforeProxy(ex *plugin.Exchange) (*plugin.Reply, error) {
	return p.do(ex, "before_proxy", p.c.BeforeProxy)
}

func (p *probe) HeaderFilter(ex *plugin.Exchange) error {
	if p.c.HeaderFilter == "will change" {
		ex.BodyWillChange()
	} else if p.c.HeaderFilter == "set" {
		ex.Response.Header.SetString("X-Filtered", p.c.Tag)
	}
	_, err := p.do(ex, "header_filter", p.c.HeaderFilter)
	return err
}

func (p *probe) BodyFilter(ex *plugin.Exchange, chunk []byte, last bool) ([]byte, error) {
	if last {
		note(p.c.Tag + " body_filter")
	}
	switch p.c.BodyFilter {
	case "double":
		return append(bytes.Clone(chunk), chunk...), nil
	case "upper":
		return bytes.ToUpper(chunk), nil
	case "collect":
		held, _ := ex.Value(p).([]byte)
		held = append(held, chunk...)
		ex.SetValue(p, held)
		if !last {
			return nil, nil
		}
		return []byte(fmt.Sprintf("%d bytes", len(held))), nil
	case "error":
		return nil, errors.New("out of order")
	case "panic":
		panic("boom in body_filter")
	case "drop":
		return nil, nil
	}
	return chunk, nil
}

func (p *probe) Log(ex *plugin.Exchange) {
	note(fmt.Sprintf("%s log %d", p.c.Tag, ex.Response.Status))
	if p.c.Log == "panic" {
		panic("boom in log")
	}
}

func (p *probe) MayWait() bool      { return p.c.Waits }
func (p *probe) RequestBody() int64 { return p.c.Body }
func (p *probe) Close()             { notes.closed.Add(1) }

// with is a probe in a snapshot.
func with(name string, c probeConf) *snapshot.Plugin {
	conf, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return &snapshot.Plugin{Name: name, Conf: conf, Resource: "/routes/1"}
}
