// Package limitconn is the plugin limit-conn: it limits how many requests of a client are served at the same time
// (apisix/plugins/limit-conn/init.lua).
package limitconn

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/limit"
)

const name = "limit-conn"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 1003, Version: "0.1", Schema: confSchema, New: newLimiter})
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
		return nil, fmt.Errorf("policy: %s is not available in this build: use local", c.Policy)
	}
	if c.Rules != nil && c.Conn != nil {
		return nil, errors.New("conn/burst and rules cannot be specified at the same time")
	}
	l := &limiter{rules: c.Rules != nil, degrade: c.AllowDegradation, only: c.OnlyDefaultDelay, logger: env.Logger,
		conns: env.Shared(name, func() any { return limit.NewConns(0) }).(*limit.Conns), rejected: plugin.Exit(c.RejectedCode, nil)}
	l.unit.Store(int64(c.DefaultDelay * float64(time.Second)))
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

// held are the counters that an exchange holds; it is kept in the exchange until the log phase.
type held struct {
	keys  [][]byte
	delay int64
}

var (
	_ plugin.Accesser = (*limiter)(nil)
	_ plugin.Logger   = (*limiter)(nil)
)

// Access counts the request, and delays it when there are more than conn, or refuses it when there are more than conn + burst.
func (l *limiter) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	var h *held
	for i := range l.quotas {
		q := &l.quotas[i]
		conn, err := q.conn.Of(ex)
		var burst int64
		if err == nil {
			burst, err = q.burst.Of(ex)
		}
		if err != nil {
			if l.rules || l.degrade {
				continue
			}
			l.logger.Warn("limit has no value", "route_id", ex.Route.ID, "err", err)
			return plugin.Exit(http.StatusInternalServerError, nil), nil
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
		n, ok := l.conns.Enter(key, ex.Now, conn+burst)
		if !ok {
			return l.rejected, nil
		}
		if h == nil {
			h = &held{}
			ex.SetValue(l, h)
		}
		h.keys = append(h.keys, key)
		if n > conn {
			d := l.unit.Load() * ((n - 1) / conn)
			h.delay += d
			ex.Delay += time.Duration(d)
		}
	}
	return nil, nil
}

// Log gives the counters back, whatever became of the request.
func (l *limiter) Log(ex *plugin.Exchange) {
	h, _ := ex.Value(l).(*held)
	if h == nil {
		return
	}
	for _, key := range h.keys {
		l.conns.Leave(key, ex.Now)
	}
	if !l.only {
		// The next delay follows how long requests really take (resty.limit.conn leaving).
		took := max(ex.Now-ex.Start-h.delay, 0)
		l.unit.Store((l.unit.Load() + took) / 2)
	}
}
