// Package limitcount is the plugin limit-count: it limits how many requests a client may make in a window of time
// (apisix/plugins/limit-count/init.lua).
package limitcount

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/limit"
)

const name = "limit-count"

//go:embed schema.json
var confSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 1002, Version: "0.4", Schema: confSchema, MetadataSchema: metadataSchema, New: newLimiter})
}

type conf struct {
	Count            json.RawMessage `json:"count"`
	TimeWindow       json.RawMessage `json:"time_window"`
	WindowType       string          `json:"window_type"`
	Rules            []rule          `json:"rules"`
	Group            string          `json:"group"`
	Key              string          `json:"key"`
	KeyType          string          `json:"key_type"`
	RejectedCode     int             `json:"rejected_code"`
	RejectedMsg      string          `json:"rejected_msg"`
	Policy           string          `json:"policy"`
	AllowDegradation bool            `json:"allow_degradation"`
	ShowHeader       bool            `json:"show_limit_quota_header"`
}

type rule struct {
	Count        json.RawMessage `json:"count"`
	TimeWindow   json.RawMessage `json:"time_window"`
	Key          string          `json:"key"`
	HeaderPrefix string          `json:"header_prefix"`
}

// headers are the names of the quota fields; limit-count's metadata may change them.
type headers struct {
	Limit     string `json:"limit_header"`
	Remaining string `json:"remaining_header"`
	Reset     string `json:"reset_header"`
}

// limiter is an instance: one quota, or one for each rule.
type limiter struct {
	quotas   []quota
	windows  *limit.Windows
	sliding  bool
	rules    bool
	degrade  bool
	show     bool
	rejected *plugin.Reply
	logger   *slog.Logger
}

type quota struct {
	count, window limit.Number
	key           *limit.Key
	headers       headers
}

func newLimiter(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	var c conf
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	h := headers{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}
	if env.Metadata != nil {
		if err := json.Unmarshal(env.Metadata, &h); err != nil {
			return nil, fmt.Errorf("read metadata: %w", err)
		}
	}
	l := &limiter{windows: env.Shared(name, func() any { return limit.NewWindows(0) }).(*limit.Windows), sliding: c.WindowType == "sliding",
		rules: c.Rules != nil, degrade: c.AllowDegradation, show: c.ShowHeader, logger: env.Logger, rejected: plugin.Exit(c.RejectedCode, nil)}
	if c.RejectedMsg != "" {
		l.rejected = plugin.ErrorMsg(c.RejectedCode, c.RejectedMsg)
	}
	if c.Rules == nil {
		q, err := newQuota(c.Count, c.TimeWindow, h)
		if err != nil {
			return nil, err
		}
		if q.key, err = limit.NewKey(c.KeyType, c.Key, c.Group, env.Resource, raw); err != nil {
			return nil, err
		}
		l.quotas = []quota{q}
		return l, nil
	}
	for i, r := range c.Rules {
		prefix := r.HeaderPrefix
		if prefix == "" {
			prefix = strconv.Itoa(i + 1)
		}
		q, err := newQuota(r.Count, r.TimeWindow, h.prefixed(prefix))
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		if q.key, err = limit.NewKey("var_combination", r.Key, "", env.Resource, raw); err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		l.quotas = append(l.quotas, q)
	}
	return l, nil
}

// check is what the schema cannot say (check_schema).
func (c *conf) check() error {
	if c.Rules != nil && (c.Count != nil || c.TimeWindow != nil) {
		return errors.New("count/time_window and rules cannot be specified at the same time")
	}
	if c.Group != "" && c.Rules != nil {
		return errors.New("group and rules cannot be specified at the same time")
	}
	if c.Policy != "" && c.Policy != "local" {
		return fmt.Errorf("policy: %s is not available in this build: use local", c.Policy)
	}
	seen := map[string]bool{}
	for _, r := range c.Rules {
		if seen[r.Key] {
			return fmt.Errorf("duplicate key '%s' in rules", r.Key)
		}
		seen[r.Key] = true
	}
	return nil
}

func newQuota(count, window json.RawMessage, h headers) (q quota, err error) {
	if q.count, err = limit.ParseNumber(count, false); err != nil {
		return q, fmt.Errorf("count: %w", err)
	}
	if q.window, err = limit.ParseNumber(window, false); err != nil {
		return q, fmt.Errorf("time_window: %w", err)
	}
	q.headers = h
	return q, nil
}

// prefixed puts a rule's prefix into the names: X-RateLimit-Limit becomes X-1-RateLimit-Limit.
func (h headers) prefixed(p string) headers {
	one := func(s string) string { return strings.Replace(s, "RateLimit-", p+"-RateLimit-", 1) }
	return headers{one(h.Limit), one(h.Remaining), one(h.Reset)}
}

var _ plugin.Accesser = (*limiter)(nil)

// Access takes the request off the quotas that apply to it.
func (l *limiter) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	for i := range l.quotas {
		q := &l.quotas[i]
		var key []byte
		if l.rules {
			var applies bool
			if key, applies = q.key.OfResolved(ex); !applies {
				continue
			}
		} else {
			key = q.key.Of(ex)
		}
		count, err := q.count.Of(ex)
		var window int64
		if err == nil {
			window, err = q.window.Of(ex)
		}
		if err != nil {
			if l.degrade {
				return nil, nil
			}
			l.logger.Warn("limit has no value", "route_id", ex.Route.ID, "err", err)
			return plugin.Exit(http.StatusInternalServerError, nil), nil
		}
		ns := min(window, int64(1<<31)) * int64(time.Second)
		var d limit.Decision
		if l.sliding {
			d = l.windows.Sliding(key, ex.Now, count, ns, 1)
		} else {
			d = l.windows.Fixed(key, ex.Now, count, ns, 1)
		}
		if l.show {
			h := &ex.Response.Early
			h.Set(q.headers.Limit, ex.Int(count))
			h.Set(q.headers.Remaining, ex.Int(d.Remaining))
			h.Set(q.headers.Reset, ex.Int((d.Reset+int64(time.Second)-1)/int64(time.Second)))
		}
		if !d.Allowed {
			return l.rejected, nil
		}
	}
	return nil, nil
}
