package engine

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

// faultLog writes plugin faults, at most a few per second of each plugin and route so that a broken plugin under load cannot fill a disk.
type faultLog struct {
	mu   sync.Mutex
	last map[faultKey]*faultCount
}

type faultKey struct{ what, plugin, route string }

type faultCount struct {
	at         time.Time
	suppressed int
}

const (
	faultInterval = time.Second
	maxFaultKeys  = 1024
)

func (f *faultLog) log(l *slog.Logger, what, name, route string, cause any, stack []byte) {
	now := time.Now()
	f.mu.Lock()
	if f.last == nil || len(f.last) > maxFaultKeys {
		f.last = map[faultKey]*faultCount{}
	}
	k := faultKey{what, name, route}
	c := f.last[k]
	if c == nil {
		c = &faultCount{}
		f.last[k] = c
	}
	if now.Sub(c.at) < faultInterval {
		c.suppressed++
		f.mu.Unlock()
		return
	}
	suppressed := c.suppressed
	c.at, c.suppressed = now, 0
	f.mu.Unlock()
	attrs := []any{"plugin", name, "route_id", route, "err", cause}
	if suppressed > 0 {
		attrs = append(attrs, "suppressed", suppressed)
	}
	if stack != nil {
		attrs = append(attrs, "stack", string(stack))
	}
	l.Error(what, attrs...)
}

// fault answers 500 for an error of a plugin and logs it once.
func (x *Exchange) fault(err error) {
	u := x.current
	x.engine.Faults.Add(1)
	x.engine.faults.log(x.engine.conf.Logger, "plugin failed", u.def.Name, x.Exchange.Route.ID, err, nil)
	x.reply(&plugin.Reply{Status: http.StatusInternalServerError}, plugin.SourceGateway)
}

// panicked answers 500 for a panic: that request is lost, the gateway is not.
func (x *Exchange) panicked(p any) {
	x.panickedLate(p)
	x.reply(&plugin.Reply{Status: http.StatusInternalServerError}, plugin.SourceGateway)
}

// panickedLate logs and counts a panic when no answer can be given any more.
func (x *Exchange) panickedLate(p any) {
	name := ""
	if x.current != nil {
		name = x.current.def.Name
	}
	x.engine.Panics.Add(1)
	x.engine.faults.log(x.engine.conf.Logger, "plugin panicked", name, x.Exchange.Route.ID, p, debug.Stack())
}
