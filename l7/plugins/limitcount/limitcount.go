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
	"slices"
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
	plugin.Register(plugin.Def{Name: name, Priority: 1002, Version: "0.5", Schema: confSchema, MetadataSchema: metadataSchema, New: newLimiter, Group: group})
}

// group is the field of that name. Members of a group count together, so they must agree.
func group(raw []byte) string {
	var c struct {
		Group string `json:"group"`
	}
	if json.Unmarshal(raw, &c) != nil {
		return ""
	}
	return c.Group
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
	// Windows of both kinds under the key of one group would not understand each other.
	table := name + " " + c.WindowType
	l := &limiter{windows: env.Shared(table, func() any { return limit.NewWindows(0) }).(*limit.Windows), sliding: c.WindowType == "sliding",
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
	if c.Rules == nil && (c.Count == nil || c.TimeWindow == nil) {
		return errors.New("value should match only one schema, but matches none")
	}
	if c.Group != "" && c.Rules != nil {
		return errors.New("group and rules cannot be specified at the same time")
	}
	if c.Policy != "" && c.Policy != "local" {
		return fmt.Errorf("policy: %s is not available in this build, use local", c.Policy)
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

var (
	_ plugin.Accesser       = (*limiter)(nil)
	_ plugin.BodyVarsReader = (*limiter)(nil)
)

// ReadsBodyVars implements plugin.BodyVarsReader for keys and numbers.
func (l *limiter) ReadsBodyVars() bool {
	return slices.ContainsFunc(l.quotas, func(q quota) bool { return q.key.NeedsBody() || q.count.NeedsBody() || q.window.NeedsBody() })
}

// share is what a quota comes to for one request.
type share struct {
	*quota
	key           []byte
	count, window int64
}

// Access takes the request off the quotas that apply to it. When none does, or one of them has no value, the request fails, for otherwise a client could
// leave out what it is counted by; allow_degradation lets it pass instead (get_rules and rate_limit).
func (l *limiter) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	var room [4]share
	shares, err := l.shares(ex, room[:0])
	if err != nil {
		if l.degrade {
			return nil, nil
		}
		l.logger.Warn("failed to get rate limit rules", "route_id", ex.Route.ID, "err", err)
		return plugin.Exit(http.StatusInternalServerError, nil), nil
	}
	for i := range shares {
		s := &shares[i]
		ns := min(s.window, maxWindow) * int64(time.Second)
		var d limit.Decision
		if l.sliding {
			d = l.windows.Sliding(s.key, ex.Now, s.count, ns, 1)
		} else {
			d = l.windows.Fixed(s.key, ex.Now, s.count, ns, 1)
		}
		if !l.sliding || !d.Allowed {
			d.Reset = d.Reset / hundredth * hundredth
		} else {
			d.Reset = (d.Reset + hundredth - 1) / hundredth * hundredth
		}
		ex.SetVar("rate_limiting_info", info(ex, s, d))
		if l.show {
			h := &ex.Response.Early
			h.Set(s.headers.Limit, ex.Int(s.count))
			h.Set(s.headers.Remaining, ex.Int(d.Remaining))
			h.Set(s.headers.Reset, seconds(ex, d.Reset))
		}
		if !d.Allowed {
			return l.rejected, nil
		}
	}
	return nil, nil
}

// shares appends what applies to ex.
func (l *limiter) shares(ex *plugin.Exchange, list []share) ([]share, error) {
	for i := range l.quotas {
		s := share{quota: &l.quotas[i]}
		if l.rules {
			var applies bool
			if s.key, applies = s.quota.key.OfResolved(ex); !applies {
				continue
			}
		} else {
			s.key = s.quota.key.Of(ex)
		}
		var err error
		if s.count, err = s.quota.count.Of(ex); err != nil {
			return nil, fmt.Errorf("count: %w", err)
		}
		if s.window, err = s.quota.window.Of(ex); err != nil {
			return nil, fmt.Errorf("time_window: %w", err)
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return nil, errors.New("no rule applies")
	}
	return list, nil
}

const (
	// maxWindow bounds windows, in seconds, so that nanoseconds do not overflow; it is 68 years.
	maxWindow = int64(1 << 31)
	// hundredth is the resolution of Reset.
	hundredth = int64(10 * time.Millisecond)
)

// seconds writes nanoseconds as seconds with up to two decimals, without zeros at the end, as APISIX does.
func seconds(ex *plugin.Exchange, ns int64) []byte {
	b := strconv.AppendInt(ex.Alloc(24)[:0], ns/int64(time.Second), 10)
	rest := ns % int64(time.Second) / hundredth
	switch {
	case rest == 0:
		return b
	case rest%10 == 0:
		return append(b, '.', byte('0'+rest/10))
	default:
		return append(b, '.', byte('0'+rest/10), byte('0'+rest%10))
	}
}

// info is the variable rate_limiting_info, which log formats may use (apisix/core/utils.lua set_var_rate_limiting_info).
func info(ex *plugin.Exchange, s *share, d limit.Decision) []byte {
	b := append(ex.Alloc(len(s.key) + 160)[:0], `{"rate_limiting_key":"`...)
	for _, c := range s.key {
		// The key holds bytes of the client's: they must not end the string.
		if c < 0x20 || c == '"' || c == '\\' {
			c = '_'
		}
		b = append(b, c)
	}
	b = strconv.AppendInt(append(b, `","rate_limiting_limit":`...), s.count, 10)
	b = strconv.AppendInt(append(b, `,"rate_limiting_remaining":`...), d.Remaining, 10)
	b = strconv.AppendInt(append(b, `,"rate_limiting_reset":`...), d.Reset/int64(time.Second), 10)
	return append(b, '}')
}
