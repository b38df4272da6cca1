// Package cors is the plugin cors: it answers preflight requests and sets the fields of Cross-Origin Resource Sharing
// (apisix/plugins/cors.lua; https://fetch.spec.whatwg.org/#http-cors-protocol).
package cors

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/regex"
)

const name = "cors"

//go:embed schema.json
var confSchema []byte

//go:embed metadata_schema.json
var metadataSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 4000, Version: "0.1", Schema: confSchema, MetadataSchema: metadataSchema, New: newCORS})
}

type conf struct {
	AllowOrigins           string   `json:"allow_origins"`
	AllowMethods           string   `json:"allow_methods"`
	AllowHeaders           string   `json:"allow_headers"`
	ExposeHeaders          string   `json:"expose_headers"`
	MaxAge                 int64    `json:"max_age"`
	AllowCredential        bool     `json:"allow_credential"`
	AllowOriginsByRegex    []string `json:"allow_origins_by_regex"`
	AllowOriginsByMetadata []string `json:"allow_origins_by_metadata"`
	TimingAllowOrigins     string   `json:"timing_allow_origins"`
	TimingByRegex          []string `json:"timing_allow_origins_by_regex"`
}

type cors struct {
	conf     conf
	origins  origins
	timing   origins
	metadata []origins
	methods  string
	maxAge   string
}

// origins says which origins are allowed: a list, or patterns.
type origins struct {
	text     string // as written: "*", "**", one origin, or a list
	list     map[string]bool
	patterns []*regex.Regexp
	byRegex  bool
}

func newOrigins(text string, patterns []string) (o origins, err error) {
	o.text = text
	if strings.Contains(text, ",") {
		o.list = map[string]bool{}
		for _, one := range strings.Split(text, ",") {
			o.list[one] = true
		}
	}
	o.byRegex = patterns != nil
	for _, p := range patterns {
		re, err := regex.Compile(p, "jo")
		if err != nil {
			return o, err
		}
		o.patterns = append(o.patterns, re)
	}
	return o, nil
}

// allow returns what to answer to a request from an origin (nil when it named none), or nothing.
func (o *origins) allow(origin []byte) []byte {
	if o.byRegex {
		for _, p := range o.patterns {
			if origin != nil && p.Match(origin) {
				return origin
			}
		}
		return nil
	}
	switch {
	case o.text == "":
		return nil
	case o.text == "**":
		if origin != nil {
			return origin
		}
		return anyOrigin
	case o.list != nil:
		if o.list[string(origin)] {
			return origin
		}
		return nil
	}
	return plugin.Bytes(o.text)
}

func newCORS(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	c := &cors{}
	if err := json.Unmarshal(raw, &c.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if c.conf.AllowCredential {
		for _, v := range []string{c.conf.AllowOrigins, c.conf.AllowMethods, c.conf.AllowHeaders, c.conf.ExposeHeaders, c.conf.TimingAllowOrigins} {
			if v == "*" {
				return nil, errors.New("you can not set '*' for other option when 'allow_credential' is true")
			}
		}
	}
	var err error
	if c.origins, err = newOrigins(c.conf.AllowOrigins, c.conf.AllowOriginsByRegex); err != nil {
		return nil, fmt.Errorf("allow_origins_by_regex: %w", err)
	}
	if c.timing, err = newOrigins(c.conf.TimingAllowOrigins, c.conf.TimingByRegex); err != nil {
		return nil, fmt.Errorf("timing_allow_origins_by_regex: %w", err)
	}
	c.methods, c.maxAge = c.conf.AllowMethods, strconv.FormatInt(c.conf.MaxAge, 10)
	if c.methods == "**" {
		c.methods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"
	}
	var md struct {
		AllowOrigins map[string]string `json:"allow_origins"`
	}
	if env.Metadata != nil {
		if err := json.Unmarshal(env.Metadata, &md); err != nil {
			return nil, fmt.Errorf("read metadata: %w", err)
		}
	}
	for _, key := range c.conf.AllowOriginsByMetadata {
		if text, ok := md.AllowOrigins[key]; ok {
			o, err := newOrigins(text, nil)
			if err != nil {
				return nil, err
			}
			c.metadata = append(c.metadata, o)
		}
	}
	return c, nil
}

var (
	_ plugin.Rewriter       = (*cors)(nil)
	_ plugin.HeaderFilterer = (*cors)(nil)
)

// Rewrite remembers the origin, which later phases may change for the upstream, and answers preflight requests.
func (c *cors) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	if o := ex.Request.Header.Get("Origin"); o != nil {
		ex.SetVar("cors_request_origin", o)
	}
	if string(ex.Request.Method) == http.MethodOptions {
		return preflight, nil
	}
	return nil, nil
}

var requestOrigin = plugin.CompileVar("cors_request_origin")

var (
	preflight  = plugin.Exit(http.StatusOK, nil)
	varyOrigin = []byte("Origin")
	anyOrigin  = []byte("*")
)

// HeaderFilter sets the fields for origins that are allowed, in place of the upstream's.
func (c *cors) HeaderFilter(ex *plugin.Exchange) error {
	origin, ok := requestOrigin(ex)
	if !ok {
		origin = nil
	}
	h := &ex.Response.Header
	allowed := c.allow(origin)
	if c.conf.AllowOrigins != "*" {
		h.Add("Vary", varyOrigin)
	}
	if allowed != nil {
		set(h, "Access-Control-Allow-Origin", allowed)
		set(h, "Access-Control-Allow-Methods", plugin.Bytes(c.methods))
		set(h, "Access-Control-Max-Age", plugin.Bytes(c.maxAge))
		if c.conf.ExposeHeaders != "" {
			h.SetString("Access-Control-Expose-Headers", c.conf.ExposeHeaders)
		}
		headers := plugin.Bytes(c.conf.AllowHeaders)
		if c.conf.AllowHeaders == "**" {
			headers = ex.Request.Header.Get("Access-Control-Request-Headers")
		}
		set(h, "Access-Control-Allow-Headers", headers)
		if c.conf.AllowCredential {
			h.SetString("Access-Control-Allow-Credentials", "true")
		}
	}
	if t := c.timing.allow(origin); matches(origin, t) {
		h.Set("Timing-Allow-Origin", t)
	}
	return nil
}

// set sets a field, or removes it for an empty value, as OpenResty does.
func set(h *plugin.Header, name string, value []byte) {
	if len(value) == 0 {
		h.Del(name)
		return
	}
	h.Set(name, value)
}

// matches tells whether what is allowed covers the origin.
func matches(origin, allowed []byte) bool {
	return allowed != nil && (string(allowed) == "*" || origin != nil && plugin.String(allowed) == plugin.String(origin))
}

// allow decides in APISIX's order: the metadata first if the route refers to it, then patterns or the list. What does not cover the origin is no answer, so that a
// request from elsewhere, or from nowhere, gets no fields (t/plugin/cors4.t TEST 7).
func (c *cors) allow(origin []byte) []byte {
	if c.conf.AllowOriginsByMetadata != nil {
		for i := range c.metadata {
			if matches(origin, c.metadata[i].allow(origin)) {
				return origin
			}
		}
		// "*" is only the default of allow_origins here, not a wish.
		if origin == nil || c.conf.AllowOrigins == "*" {
			return nil
		}
	}
	if allowed := c.origins.allow(origin); matches(origin, allowed) {
		return allowed
	}
	return nil
}
