// Package redirect is the plugin redirect: it sends clients to another URI, or from http to https (apisix/plugins/redirect.lua).
package redirect

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/regex"
)

const name = "redirect"

//go:embed schema.json
var confSchema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 900, Version: "0.1", Schema: confSchema, New: newRedirect})
}

type conf struct {
	RetCode           int      `json:"ret_code"`
	URI               string   `json:"uri"`
	RegexURI          []string `json:"regex_uri"`
	HTTPToHTTPS       bool     `json:"http_to_https"`
	EncodeURI         bool     `json:"encode_uri"`
	AppendQueryString bool     `json:"append_query_string"`
}

type redirect struct {
	conf    conf
	uri     *plugin.Template
	https   *plugin.Template
	pattern *regex.Regexp
}

// maxStatus is the greatest number that fits a status line (RFC 9112 section 4); the schema of APISIX names no limit.
const maxStatus = 999

func newRedirect(raw []byte, env *plugin.Env) (plugin.Instance, error) {
	r := &redirect{}
	if err := json.Unmarshal(raw, &r.conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if r.conf.HTTPToHTTPS && r.conf.AppendQueryString {
		//lint:ignore ST1005 APISIX's text
		return nil, errors.New("only one of `http_to_https` and `append_query_string` can be configured.")
	}
	if r.conf.RetCode > maxStatus {
		return nil, fmt.Errorf("property \"ret_code\" validation failed: expected %d to be at most %d", r.conf.RetCode, maxStatus)
	}
	if r.conf.URI != "" {
		r.uri = plugin.CompileTemplate(r.conf.URI)
	}
	if len(r.conf.RegexURI) == 2 {
		var err error
		if r.pattern, err = regex.Compile(r.conf.RegexURI[0], "jo"); err != nil {
			return nil, fmt.Errorf("invalid regex_uri (%s, %s), err:%w", r.conf.RegexURI[0], r.conf.RegexURI[1], err)
		}
		if err := regex.CheckTemplate(r.conf.RegexURI[1]); err != nil {
			return nil, fmt.Errorf("invalid regex_uri (%s, %s), err:%w", r.conf.RegexURI[0], r.conf.RegexURI[1], err)
		}
	}
	var attr struct {
		HTTPSPort int `json:"https_port"`
	}
	if env.Attr != nil {
		if err := json.Unmarshal(env.Attr, &attr); err != nil {
			return nil, fmt.Errorf("read plugin_attr.redirect: %w", err)
		}
	}
	port := ""
	if p := attr.HTTPSPort; p > 0 && p != 443 && p <= 65535 {
		port = ":" + strconv.Itoa(p)
	}
	r.https = plugin.CompileTemplate("https://$host" + port + "$request_uri")
	return r, nil
}

var (
	_ plugin.Rewriter       = (*redirect)(nil)
	_ plugin.BodyVarsReader = (*redirect)(nil)
)

// ReadsBodyVars implements plugin.BodyVarsReader for uri.
func (r *redirect) ReadsBodyVars() bool { return r.uri != nil && r.uri.NeedsBody() }

// Rewrite answers with the redirect, or lets the request pass when nothing applies.
func (r *redirect) Rewrite(ex *plugin.Exchange) (*plugin.Reply, error) {
	code, target := r.conf.RetCode, r.uri
	if r.conf.HTTPToHTTPS && !isHTTPS(ex) {
		target = r.https
		code = http.StatusPermanentRedirect
		if m := string(ex.Request.Method); m == http.MethodGet || m == http.MethodHead {
			code = http.StatusMovedPermanently
		}
	}
	var location []byte
	switch {
	case target != nil:
		location, _ = target.Eval(ex)
	case r.pattern != nil:
		to, n, err := r.pattern.Sub(ex.Request.Path, r.conf.RegexURI[1])
		if err != nil {
			return nil, fmt.Errorf("substitute the uri: %w", err)
		}
		if !n {
			return nil, nil
		}
		location = to
	default:
		return nil, nil
	}
	query := bytes.IndexByte(location, '?')
	if r.conf.EncodeURI {
		path, rest := location, []byte(nil)
		if query >= 0 {
			path, rest = location[:query], location[query:]
		}
		location = append(plugin.AppendEscaped(nil, path), rest...)
		query = bytes.IndexByte(location, '?')
	}
	if r.conf.AppendQueryString && len(ex.Request.Query) > 0 {
		sep := byte('?')
		if query >= 0 {
			sep = '&'
		}
		location = append(append(append([]byte(nil), location...), sep), ex.Request.Query...)
	}
	// A decoded path may hold bytes that end a line or are no part of a URI.
	location = plugin.AppendQuery(nil, location)
	return &plugin.Reply{Status: code, Header: []plugin.Field{{Name: []byte("Location"), Value: location}}}, nil
}

// isHTTPS tells how the client came, as a trusted proxy in front says or as it is.
func isHTTPS(ex *plugin.Exchange) bool {
	if v := ex.Request.Header.Get("X-Forwarded-Proto"); len(v) > 0 {
		return string(v) == "https"
	}
	return ex.Request.Scheme == "https"
}
