// Package limitreq is the plugin limit-req: it limits the rate of requests with a leaky bucket (apisix/plugins/limit-req.lua).
package limitreq

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/limit"
)

const name = "limit-req"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 1001, Version: "0.1", Schema: confSchema, New: newLimiter})
}

type conf struct {
	Rate         float64 `json:"rate"`
	Burst        float64 `json:"burst"`
	Key          string  `json:"key"`
	KeyType      string  `json:"key_type"`
	Policy       string  `json:"policy"`
	RejectedCode int     `json:"rejected_code"`
	RejectedMsg  string  `json:"rejected_msg"`
	NoDelay      bool    `json:"nodelay"`
}

type limiter struct {
	conf     conf
	key      *limit.Key
	buckets  *limit.Buckets
	rejected *plugin.Reply
}

func newLimiter(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	l := &limiter{}
	if err := json.Unmarshal(raw, &l.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if p := l.conf.Policy; p != "" && p != "local" {
		return nil, fmt.Errorf("policy: %s is not available in this build, use local", p)
	}
	var err error
	if l.key, err = limit.NewKey(l.conf.KeyType, l.conf.Key, "", env.Resource, raw); err != nil {
		return nil, err
	}
	l.buckets = env.Shared(name, func() any { return limit.NewBuckets(0) }).(*limit.Buckets)
	l.rejected = plugin.Exit(l.conf.RejectedCode, nil)
	if l.conf.RejectedMsg != "" {
		l.rejected = plugin.ErrorMsg(l.conf.RejectedCode, l.conf.RejectedMsg)
	}
	return l, nil
}

// ReadsBodyVars implements plugin.BodyVarsReader for the key.
func (l *limiter) ReadsBodyVars() bool { return l.key.NeedsBody() }

var _ plugin.Accesser = (*limiter)(nil)

// Access lets the request through, late or not at all.
func (l *limiter) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	delay, ok := l.buckets.Take(l.key.Of(ex), ex.Now, l.conf.Rate, l.conf.Burst)
	if !ok {
		return l.rejected, nil
	}
	if d := time.Duration(delay); d >= time.Millisecond && !l.conf.NoDelay {
		ex.Delay = d
	}
	return nil, nil
}
