// Package adminapi is the Admin API: APISIX's resources over HTTP, in its envelopes, status codes and words
// (apisix/admin/*.lua of APISIX 3.18).
//
// Reads come from the controller's view. Every write is one call of Controller.Update: the checks run on the state that the
// write applies to, and a 2xx is answered only when the change is on disk and served. Values are stored as they were sent, plus id and
// timestamps; what plugins mark in encrypt_fields and private keys are encrypted in the store.
package adminapi

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/reconcile"
	"github.com/sluice-gateway/sluice/control/schema"
	"github.com/sluice-gateway/sluice/control/store"
)

// Key is one key of the API. Role is "admin" or "viewer"; a viewer may only read.
type Key struct {
	Name string
	Key  crypt.Secret
	Role string
}

// Options are the surroundings of an API.
type Options struct {
	Keys []Key
	// KeyRequired false opens the API to everybody whom AllowAdmin lets through.
	KeyRequired bool
	// AllowAdmin are the addresses that may talk to the API at all.
	AllowAdmin []netip.Prefix
	// CORS adds permissive CORS fields to every answer (deployment.admin.enable_admin_cors).
	CORS         bool
	ServerHeader string
	// BodyBytes bounds a request body; 0 means 1.5 MiB as in APISIX.
	BodyBytes int64
	// Keyring encrypts at rest; nil stores in the clear.
	Keyring *crypt.Keyring
	// StreamEnabled allows stream_routes.
	StreamEnabled bool
	// Version is the form of the answers: "v3", which is also meant by "", or "v2", the form that APISIX calls
	// "default" (deployment.admin.admin_api_version).
	Version string
	// NextID makes ids for POST and is required; see store.Store.
	NextID func(context.Context) (string, error)
	Logger *slog.Logger
	// Now is the clock of create_time and update_time; nil is time.Now.
	Now func() time.Time
}

// Controller is what the API needs of the controller.
type Controller interface {
	View() compile.View
	Update(ctx context.Context, fn func(compile.View) ([]store.Op, error)) (store.Rev, []store.Event, error)
}

// Checker judges objects; *compile.Compiler is one.
type Checker interface {
	CheckObject(key model.Key, doc any, view compile.View, opt compile.CheckOptions) error
}

const (
	prefix      = "/apisix/admin"
	defaultBody = 3 << 19 // 1.5 MiB (apisix/admin/init.lua MAX_REQ_BODY)
)

type api struct {
	ctl     Controller
	checker Checker
	plugins compile.Plugins
	seal    *sealer
	o       Options
}

// New makes the handler of the API.
func New(ctl Controller, checker Checker, plugins compile.Plugins, o Options) http.Handler {
	if o.BodyBytes <= 0 {
		o.BodyBytes = defaultBody
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &api{ctl: ctl, checker: checker, plugins: plugins, seal: newSealer(plugins, o.Keyring), o: o}
}

// NewServer makes a server with bounds on everything that a client may take time or memory with.
func NewServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 60 * time.Second, WriteTimeout: 120 * time.Second,
		IdleTimeout: 75 * time.Second, MaxHeaderBytes: 32 << 10}
}

// reply is an answer: body is encoded as JSON, or sent as it is when it is a string.
type reply struct {
	status int
	body   any
}

// Error makes a reply usable as the error of an update.
func (r *reply) Error() string { return fmt.Sprintf("answer %d", r.status) }

func fail(status int, format string, args ...any) *reply {
	return &reply{status, map[string]any{"error_msg": fmt.Sprintf(format, args...)}}
}

var keyNotFound = &reply{http.StatusNotFound, map[string]any{"message": "Key not found"}}

// ServeHTTP implements http.Handler.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Server", a.o.ServerHeader)
	if a.o.CORS {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Allow-Methods", "POST, GET, PUT, OPTIONS, DELETE, PATCH")
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Expose-Headers", "*")
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Max-Age", "3600")
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			a.o.Logger.Error("admin request panicked", "method", r.Method, "path", r.URL.Path, "err", p, "stack", string(debug.Stack()))
			write(w, r, fail(http.StatusInternalServerError, "internal error"))
		}
	}()
	if !a.admits(r) {
		write(w, r, &reply{http.StatusForbidden, "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n" +
			"<hr><center>openresty</center>\r\n</body>\r\n</html>\r\n"})
		return
	}
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	if path != prefix && !strings.HasPrefix(path, prefix+"/") {
		write(w, r, fail(http.StatusNotFound, "404 Route Not Found"))
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusOK)
		return
	}
	if path == prefix {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusOK)
			return
		}
		write(w, r, fail(http.StatusNotFound, "not found"))
		return
	}
	if refused := a.authorize(r); refused != nil {
		write(w, r, refused)
		return
	}
	h.Set("X-API-VERSION", "v3")
	if a.o.Version == v2 {
		h.Set("X-API-VERSION", v2)
	}
	segs := strings.Split(path[len(prefix)+1:], "/")
	for i, s := range segs {
		// Only now: an encoded slash is part of an id, where it is refused, and no separator.
		plain, err := url.PathUnescape(s)
		if err != nil {
			write(w, r, fail(http.StatusBadRequest, "invalid path: %v", err))
			return
		}
		segs[i] = plain
	}
	write(w, r, a.dispatch(r, segs))
}

// admits tells whether the client's address may use the API.
func (a *api) admits(r *http.Request) bool {
	if a.o.AllowAdmin == nil {
		return true
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	for _, p := range a.o.AllowAdmin {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func (a *api) authorize(r *http.Request) *reply {
	if !a.o.KeyRequired {
		return nil
	}
	refuse := func(why string) *reply {
		return &reply{http.StatusUnauthorized, map[string]any{"error_msg": "failed to check token", "description": why}}
	}
	token, given := tokenOf(r)
	if !given {
		return refuse("missing apikey")
	}
	role := ""
	for _, k := range a.o.Keys {
		// Every key is compared, in constant time, so that the time taken tells nothing.
		if subtle.ConstantTimeCompare([]byte(token), []byte(k.Key.Reveal())) == 1 && k.Key.Reveal() != "" {
			role = k.Role
		}
	}
	switch {
	case role == "":
		return refuse("wrong apikey")
	case role == "viewer" && r.Method != http.MethodGet && r.Method != http.MethodHead:
		return refuse("invalid method for role viewer")
	}
	return nil
}

// tokenOf is the key that a request brings, in the order in which APISIX looks for it; an empty one counts as given.
func tokenOf(r *http.Request) (string, bool) {
	if q := r.URL.Query(); q.Has("api_key") {
		return q.Get("api_key"), true
	}
	if v := r.Header.Values("X-API-KEY"); len(v) > 0 {
		return v[0], true
	}
	if c, err := r.Cookie("x_api_key"); err == nil {
		return c.Value, true
	}
	return "", false
}

// dispatch answers an authorised request; segs is the path below /apisix/admin.
func (a *api) dispatch(r *http.Request, segs []string) *reply {
	kind := segs[0]
	rest := segs[1:]
	switch {
	case kind == "plugins":
		return a.pluginsEndpoint(r, rest)
	case kind == "schema":
		return a.schemaEndpoint(r, rest)
	case kind == "configs" && len(rest) == 1 && rest[0] == "validate" && r.Method == http.MethodPost:
		return a.validateConfigs(r)
	}
	if kind == string(model.StreamRoutes) && !a.o.StreamEnabled {
		return fail(http.StatusBadRequest, "stream mode is disabled, can not add stream routes")
	}
	t, bad := locate(kind, rest)
	if bad != nil {
		return bad
	}
	switch r.Method {
	case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete:
	default:
		return fail(http.StatusNotFound, "not found")
	}
	body, present, bad := a.body(r)
	if bad != nil {
		return bad
	}
	ttl, bad := ttlOf(r)
	if bad != nil {
		return bad
	}
	if !t.info.Allows(r.Method) {
		return fail(http.StatusMethodNotAllowed, "%s", t.info.MethodRefused(r.Method))
	}
	if r.Method == http.MethodGet {
		if t.id != "" {
			return a.get(t)
		}
		return a.list(r, t)
	}
	c := change{target: t, body: body, present: present, ttl: ttl, match: r.Header.Get("If-Match")}
	var answer *reply
	switch r.Method {
	case http.MethodPut:
		answer = a.put(r.Context(), c)
	case http.MethodPost:
		answer = a.post(r.Context(), c)
	case http.MethodPatch:
		answer = a.patch(r.Context(), c)
	default:
		answer = a.delete(r.Context(), c, r.URL.Query().Get("force") == "true")
	}
	if answer.status < 300 {
		a.o.Logger.Info("resource changed", "method", r.Method, "path", r.URL.Path, "client", r.RemoteAddr)
	}
	return answer
}

// locate tells what a path below /apisix/admin means.
func locate(kind string, rest []string) (target, *reply) {
	t := target{}
	for _, info := range model.Kinds() {
		if info.Parent == model.Kind(kind) && len(rest) >= 2 && rest[1] == string(info.Kind) {
			t.parent, kind, rest = rest[0], rest[1], rest[2:]
			break
		}
	}
	info, ok := model.Lookup(model.Kind(kind))
	if !ok || (info.Parent != "") != (t.parent != "") {
		return t, fail(http.StatusNotFound, "Unsupported resource type: %s", kind)
	}
	t.info = info
	if info.Kind == model.Secrets && len(rest) > 0 {
		t.manager, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		t.id, t.sub = rest[0], strings.Join(rest[1:], "/")
	}
	return t, nil
}

func ttlOf(r *http.Request) (time.Duration, *reply) {
	s := r.URL.Query().Get("ttl")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n < 1e9) {
		return 0, fail(http.StatusBadRequest, "invalid argument ttl: should be a number")
	}
	return time.Duration(n * float64(time.Second)), nil
}

// body reads and decodes the request body; present is false when there is none.
func (a *api) body(r *http.Request) (doc any, present bool, bad *reply) {
	raw, bad := a.rawBody(r)
	if bad != nil || len(raw) == 0 {
		return nil, false, bad
	}
	doc, err := schema.Decode(raw)
	if err != nil {
		return nil, false, &reply{http.StatusBadRequest, map[string]any{"error_msg": "invalid request body: " + err.Error(), "req_body": clip(string(raw))}}
	}
	return doc, true, nil
}

func (a *api) rawBody(r *http.Request) ([]byte, *reply) {
	tooLarge := func(size int64) *reply {
		return fail(http.StatusBadRequest, "invalid request body: request size %d is greater than the maximum size %d allowed", size, a.o.BodyBytes)
	}
	if r.ContentLength > a.o.BodyBytes {
		return nil, tooLarge(r.ContentLength)
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, a.o.BodyBytes+1))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "invalid request body: %v", err)
	}
	if int64(len(raw)) > a.o.BodyBytes {
		return nil, tooLarge(int64(len(raw)))
	}
	return raw, nil
}

// clip bounds what an answer echoes.
func clip(s string) string {
	if len(s) > 4096 {
		return s[:4096] + "..."
	}
	return s
}

// attempts is how often an update is tried when somebody else writes to the store at the same time.
const attempts = 3

// update changes the store. What changed in between is seen by the next attempt, so nothing of it is lost.
func (a *api) update(ctx context.Context, fn func(compile.View) ([]store.Op, error)) *reply {
	var err error
	for range attempts {
		if _, _, err = a.ctl.Update(ctx, fn); !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	if err != nil {
		return a.failure(err)
	}
	return nil
}

// failure is the answer to an update that did not happen.
func (a *api) failure(err error) *reply {
	var r *reply
	var refused *reconcile.RefusedError
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &refused):
		return fail(http.StatusBadRequest, "%v", refused)
	case errors.Is(err, store.ErrNoSpace):
		return fail(http.StatusInsufficientStorage, "the store has no space left: free some on the disk of sluice.data_dir and try again")
	case errors.Is(err, store.ErrReadOnly), errors.Is(err, store.ErrClosed):
		return fail(http.StatusServiceUnavailable, "the store takes no writes: %v", err)
	case errors.Is(err, store.ErrConflict):
		return fail(http.StatusConflict, "somebody else changed the resource at the same time: read it again and retry")
	case errors.Is(err, store.ErrInvalid):
		return fail(http.StatusBadRequest, "%v", err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// The client left before its turn came; nothing was written and nobody reads this.
		return fail(http.StatusServiceUnavailable, "the request was given up before it was carried out")
	}
	a.o.Logger.Error("admin write failed", "err", err)
	return fail(http.StatusServiceUnavailable, "%v", err)
}

// write sends an answer.
func write(w http.ResponseWriter, r *http.Request, rep *reply) {
	if rep.body == nil {
		w.WriteHeader(rep.status)
		return
	}
	var out []byte
	if s, ok := rep.body.(string); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if strings.HasPrefix(s, "<html>") {
			w.Header().Set("Content-Type", "text/html")
		}
		out = []byte(s)
	} else {
		w.Header().Set("Content-Type", "application/json")
		out = append(encode(rep.body), '\n')
	}
	w.WriteHeader(rep.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out)
	}
}
