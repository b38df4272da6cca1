// Package keyauth is the plugin key-auth: it finds the consumer of a request by a key in a header field or a query argument.
package keyauth

import (
	_ "embed" // the schemas
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const name = "key-auth"

//go:embed schema.json
var schema []byte

//go:embed consumer_schema.json
var consumerSchema []byte

func init() {
	plugin.Register(plugin.Def{
		Name:             name,
		Priority:         2500,
		Version:          "0.1",
		Auth:             true,
		Schema:           schema,
		ConsumerSchema:   consumerSchema,
		New:              newAuth,
		ConsumerKey:      consumerKey,
		ConsumerKeyField: "key",
	})
}

type auth struct {
	header, query string
	hide          bool
	anonymous     string
	log           *slog.Logger
	// warned is set once the missing anonymous consumer was logged: it is a mistake in the configuration, not news of each request.
	warned atomic.Bool
	// The refusals are made once; they depend on the realm only.
	missing, invalid, unauthorized *plugin.Reply
}

var _ plugin.Rewriter = (*auth)(nil)

func newAuth(doc []byte, env *plugin.Env) (plugin.Instance, error) {
	var conf struct {
		Header            string `json:"header"`
		Query             string `json:"query"`
		Realm             string `json:"realm"`
		HideCredentials   bool   `json:"hide_credentials"`
		AnonymousConsumer string `json:"anonymous_consumer"`
	}
	if err := json.Unmarshal(doc, &conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	challenge := []plugin.Field{{Name: []byte("WWW-Authenticate"), Value: []byte(`apikey realm="` + conf.Realm + `"`)}}
	refuse := func(text string) *plugin.Reply {
		r := plugin.Message(http.StatusUnauthorized, text)
		r.Header = challenge
		return r
	}
	return &auth{
		header:       conf.Header,
		query:        conf.Query,
		hide:         conf.HideCredentials,
		anonymous:    conf.AnonymousConsumer,
		log:          env.Logger,
		missing:      refuse("Missing API key in request"),
		invalid:      refuse("Invalid API key in request"),
		unauthorized: refuse("Invalid user authorization"),
	}, nil
}

func consumerKey(doc []byte) (string, error) {
	var conf struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(doc, &conf); err != nil {
		return "", fmt.Errorf("read consumer configuration: %w", err)
	}
	return conf.Key, nil
}

// Rewrite attaches the consumer or refuses the request with 401.
func (a *auth) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	c, refusal := a.find(ex)
	if c == nil {
		if a.anonymous == "" {
			return refusal, nil
		}
		// A key that let nobody in is still a secret of somebody.
		if a.hide {
			ex.Request.Header.Del(a.header)
			ex.DelArg(a.query)
		}
		if c = ex.Consumers.ByName(a.anonymous); c == nil {
			if a.warned.CompareAndSwap(false, true) {
				a.log.Error("failed to get anonymous consumer", "consumer", a.anonymous, "route_id", ex.Route.ID)
			}
			return a.unauthorized, nil
		}
	}
	ex.SetConsumer(c)
	return nil, nil
}

// find returns the consumer whose key the request carries, or why there is none. The header field goes before the query argument, even when its key
// is wrong. Only where the key was found is it hidden.
func (a *auth) find(ex *plugin.Exchange) (*plugin.Consumer, *plugin.Reply) {
	key := ex.Request.Header.Get(a.header)
	inHeader := key != nil
	if !inHeader {
		n := 0
		if len(ex.Request.Query) > 0 {
			for _, arg := range ex.Args() {
				if string(arg.Name) == a.query {
					key = arg.Value
					n++
				}
			}
		}
		switch {
		case n == 0:
			return nil, a.missing
		case n > 1 || key == nil:
			// Two keys, or an argument without "=", name nobody (in APISIX they are a table and a boolean).
			return nil, a.invalid
		}
	}
	c, _ := ex.Consumers.ByKey(name, key)
	if c == nil {
		return nil, a.invalid
	}
	if a.hide {
		if inHeader {
			ex.Request.Header.Del(a.header)
		} else {
			ex.DelArg(a.query)
		}
	}
	return c, nil
}
