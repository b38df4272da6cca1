// Package limitconn is the plugin limit-conn: it limits how many requests of a client are served at the same time
// (apisix/plugins/limit-conn/init.lua).
package limitconn

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/limit"
)

const name = "limit-conn"

var (
	//go:embed schema.json
	confSchema []byte
	// streamSchema has the fields of connections (apisix/stream/plugins/limit-conn.lua).
	//go:embed stream.json
	streamSchema []byte
)

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 1003, Stream: true, Version: "0.1", Schema: confSchema, StreamSchema: streamSchema, New: newLimiter})
}

type conf struct {
	Conn             json.RawMessage `json:"conn"`
	Burst            json.RawMessage `json:"burst"`
	DefaultDelay     float64         `json:"default_conn_delay"`
	OnlyDefaultDelay bool            `json:"only_use_default_delay"`
	Key              string          `json:"key"`
	KeyType          string          `json:"key_type"`
	Policy           string          `json:"policy"`
	RejectedCode     int             `json:"rejected_code"`
	RejectedMsg      string          `json:"rejected_msg"`
	AllowDegradation bool            `json:"allow_degradation"`
	Rules            []rule          `json:"rules"`
}

type rule struct {
	Conn  json.RawMessage `json:"conn"`
	Burst json.RawMessage `json:"burst"`
	Key   string          `json:"key"`
}

type limiter struct {
	quotas   []quota
	rules    bool
	degrade  bool
	only     bool
	conns    *limit.Conns
	unit     atomic.Int64 // how long one request takes, in nanoseconds, as far as is known
	spare    sync.Pool    // of *held
	rejected *plugin.Reply
	logger   *slog.Logger
}

type quota struct {
	conn, burst limit.Number
	key         *limit.Key
}

func newLimiter(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	var c conf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if c.Policy != "" && c.Policy != "local" {
		return nil, fmt.Errorf("policy: %s is not available in this build, use local", c.Policy)
	}
	l := &limiter{rules: c.Rules != nil, degrade: c.AllowDegradation, only: c.OnlyDefaultDelay, logger: env.Logger,
		conns: env.Shared(name, func() any { return limit.NewConns(0) }).(*limit.Conns), rejected: plugin.Exit(cmp.Or(c.RejectedCode, http.StatusServiceUnavailable), nil)}
	l.spare.New = func() any { return new(held) }
	l.unit.Store(int64(min(c.DefaultDelay, maxDelay.Seconds()) * float64(time.Second)))
	if c.RejectedMsg != "" {
		l.rejected = plugin.ErrorMsg(c.RejectedCode, c.RejectedMsg)
	}
	add := func(r rule, keyType string) error {
		var q quota
		var err error
		if q.conn, err = limit.ParseNumber(r.Conn, false); err != nil {
			return fmt.Errorf("conn: %w", err)
		}
		if q.burst, err = limit.ParseNumber(r.Burst, true); err != nil {
			return fmt.Errorf("burst: %w", err)
		}
		if q.key, err = limit.NewKey(keyType, r.Key, "", env.Resource, raw); err != nil {
			return err
		}
		l.quotas = append(l.quotas, q)
		return nil
	}
	if c.Rules == nil {
		if err := add(rule{c.Conn, c.Burst, c.Key}, c.KeyType); err != nil {
			return nil, err
		}
		return l, nil
	}
	for i, r := range c.Rules {
		if err := add(r, "var_combination"); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
	}
	return l, nil
}

// ReadsBodyVars implements plugin.BodyVarsReader for keys and numbers.
func (l *limiter) ReadsBodyVars() bool {
	return slices.ContainsFunc(l.quotas, func(q quota) bool { return q.key.NeedsBody() || q.conn.NeedsBody() || q.burst.NeedsBody() })
}

// maxDelay bounds a delay, so that nanoseconds do not overflow.
const maxDelay = 24 * time.Hour

// held are the counters that an exchange holds; it is kept in the exchange until the log phase.
type held struct {
	keys  [][]byte
	delay time.Duration
}

var (
	_ plugin.Accesser     = (*limiter)(nil)
	_ plugin.Logger       = (*limiter)(nil)
	_ plugin.StreamLogger = (*limiter)(nil)
)

var errNoRule = errors.New("no rule applies")

// share is what a quota comes to for one request.
type share struct {
	key         []byte
	conn, burst int64
}

// Access counts the request, and delays it when there are more than conn, or refuses it when there are more than conn + burst. When no quota applies the
// request fails, unless allow_degradation lets it pass (limit-conn/init.lua increase).
func (l *limiter) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	var room [4]share
	shares, err := l.shares(ex, room[:0])
	if err != nil {
		if l.degrade {
			return nil, nil
		}
		l.logger.Warn("failed to get limit conn rules", "route_id", ex.Route.ID, "err", err)
		return plugin.Exit(http.StatusInternalServerError, nil), nil
	}
	h, _ := ex.Value(l).(*held)
	if h == nil {
		h = l.spare.Get().(*held)
		ex.SetValue(l, h)
	}
	for i := range shares {
		s := &shares[i]
		n, ok := l.conns.Enter(s.key, ex.Now, s.conn+s.burst)
		if !ok {
			return l.rejected, nil
		}
		h.keys = append(h.keys, s.key)
		if n > s.conn {
			h.delay += l.delay((n - 1) / s.conn)
		}
	}
	if h.delay = min(h.delay, maxDelay); h.delay >= time.Millisecond {
		ex.Delay = h.delay
	}
	return nil, nil
}

// delay is the time that times requests take.
func (l *limiter) delay(times int64) time.Duration {
	unit := l.unit.Load()
	if unit > 0 && times > int64(maxDelay)/unit {
		return maxDelay
	}
	return time.Duration(unit * times)
}

// shares appends what applies to ex. A rule whose numbers have no value does not apply; a quota of its own must have them.
func (l *limiter) shares(ex *plugin.Exchange, list []share) ([]share, error) {
	fault := errNoRule
	for i := range l.quotas {
		q := &l.quotas[i]
		conn, err := q.conn.Of(ex)
		var burst int64
		if err == nil {
			burst, err = q.burst.Of(ex)
		}
		if err != nil {
			fault = err
			continue
		}
		var key []byte
		if l.rules {
			var applies bool
			if key, applies = q.key.OfResolved(ex); !applies {
				continue
			}
		} else {
			key = q.key.Of(ex)
		}
		list = append(list, share{key, conn, burst})
	}
	if len(list) == 0 {
		return nil, fault
	}
	return list, nil
}

// Log gives the counters back, whatever became of the request.
func (l *limiter) Log(ex *plugin.Exchange) { l.leave(ex, !l.only) }

// StreamLog does so for a connection. How long it has lasted says nothing about the next one: the delay stays default_conn_delay
// (limit-conn/init.lua decrease has a latency for HTTP only).
func (l *limiter) StreamLog(ex *plugin.Exchange) { l.leave(ex, false) }

func (l *limiter) leave(ex *plugin.Exchange, learn bool) {
	h, _ := ex.Value(l).(*held)
	if h == nil {
		return
	}
	ex.SetValue(l, nil)
	for _, key := range h.keys {
		l.conns.Leave(key, ex.Now)
	}
	if len(h.keys) > 0 && learn {
		// The next delay follows how long requests really take (resty.limit.conn leaving).
		l.unit.Store((l.unit.Load() + took(ex, h.delay)) / 2)
	}
	clear(h.keys)
	h.keys, h.delay = h.keys[:0], 0
	l.spare.Put(h)
}

// took is how long the upstream took or, when it was not asked, the request apart from its delay, in nanoseconds.
func took(ex *plugin.Exchange, delay time.Duration) (ns int64) {
	if len(ex.Upstream.Attempts) == 0 {
		return max(ex.Now-ex.Start-int64(delay), 0)
	}
	for i := range ex.Upstream.Attempts {
		if a := &ex.Upstream.Attempts[i]; a.Ended > 0 {
			ns += max(a.Ended-a.Started, 0)
		}
	}
	return ns
}
