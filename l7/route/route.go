package route

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/expr"
)

// Bounds of one route.
const (
	// MaxURI is the length of a URI in bytes, as in APISIX's schema.
	MaxURI = 4096
	// MaxHost is the length of a host in bytes.
	MaxHost = 255
	// MaxPlaces bounds the number of hosts times the number of URIs.
	MaxPlaces = 16384
)

// Mode is how hosts and paths are matched (apisix.router.http).
type Mode int

// The modes. The zero value is APISIX's default.
const (
	// RadixtreeHostURI looks hosts up first, then paths.
	RadixtreeHostURI Mode = iota
	// RadixtreeURI looks paths up; the host is a condition.
	RadixtreeURI
	// RadixtreeURIWithParameter is RadixtreeURI with ":name" in paths.
	RadixtreeURIWithParameter
)

var modeNames = [...]string{"radixtree_host_uri", "radixtree_uri", "radixtree_uri_with_parameter"}

// ParseMode reads the value of apisix.router.http; empty is the default.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return RadixtreeHostURI, nil
	}
	for i, n := range modeNames {
		if n == s {
			return Mode(i), nil
		}
	}
	return 0, fmt.Errorf("read router mode: %q is none of %s", s, strings.Join(modeNames[:], ", "))
}

// String is the mode's name in config.yaml.
func (m Mode) String() string {
	if m < 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return modeNames[m]
}

// Def is a route as the matcher needs it. It must not be changed once it is in a table.
type Def struct {
	// ID names the route; it is unique in a table.
	ID string
	// URIs are whole paths, prefixes ending in "*", and paths with "*name" (":name" too in RadixtreeURIWithParameter) as segments.
	URIs []string
	// Hosts are names, or suffixes after a "*"; case does not count. One with a port is compared with the authority of the request. None means any.
	Hosts []string
	// Methods are the methods that match. None means any.
	Methods []string
	// RemoteAddrs are addresses and CIDR ranges of clients that match. None means any.
	RemoteAddrs []string
	// Vars is a condition or nil.
	Vars *expr.Expr
	// Priority and Created order routes at the same place: higher Priority first, then lower Created, then lower ID.
	Priority int
	Created  int64
	// Value belongs to the caller.
	Value any
}

// Table is an immutable set of routes. It is safe for concurrent use.
type Table struct {
	mode Mode
	byID *node[compiled]
	// any holds the paths of the routes without host; leaves and scopes hold what is found by hashing, for all hosts.
	any    scope
	leaves table[leaf]
	scopes table[scope]
	hosts  keys[scope]
	// places is the place that the last new scope got.
	places uint64

	n int
	// bodies counts the routes whose conditions read the request body.
	bodies int
}

// New returns an empty table.
func New(mode Mode) *Table { return &Table{mode: mode} }

// Len is the number of routes.
func (t *Table) Len() int { return t.n }

// Mode is the mode that the table was made with.
func (t *Table) Mode() Mode { return t.mode }

// NeedsBody tells whether the conditions of some route read the request body.
func (t *Table) NeedsBody() bool { return t.bodies > 0 }

// Get returns the route with that id.
func (t *Table) Get(id string) (*Def, bool) {
	if c := t.byID.find(id); c != nil {
		return c.def, true
	}
	return nil, false
}

// With returns a table without the routes of remove, which are found by ID alone, and with those of add. t stays as it is. The cost grows with the
// routes that are added and removed, each of which copies at most a few thousand entries of the table; when the number of routes doubles, all are
// copied once. Errors name the route and the field; then there is no new table.
func (t *Table) With(add []*Def, remove []*Def) (*Table, error) {
	next := *t
	ed := &edit{}
	for _, d := range remove {
		c := next.byID.find(d.ID)
		if c == nil {
			return nil, fmt.Errorf("remove route %q: it is not in the table", d.ID)
		}
		next.place(ed, c, false)
		next.byID = next.byID.update(ed, d.ID, func(*compiled) *compiled { return nil })
		next.count(c, -1)
	}
	for _, d := range add {
		if next.byID.find(d.ID) != nil {
			return nil, fmt.Errorf("add route %q: field id: a route with this id is in the table; remove it in the same step", d.ID)
		}
		c, err := compile(d, t.mode)
		if err != nil {
			return nil, fmt.Errorf("add route %q: %w", d.ID, err)
		}
		next.place(ed, c, true)
		next.byID = next.byID.update(ed, d.ID, func(*compiled) *compiled { return c })
		next.count(c, 1)
	}
	return &next, nil
}

func (t *Table) count(c *compiled, by int) {
	t.n += by
	if c.def.Vars.NeedsBody() {
		t.bodies += by
	}
}

// place adds the entries of a route or takes them out.
func (t *Table) place(ed *edit, c *compiled, add bool) {
	if len(c.hosts) == 0 {
		t.placePaths(ed, &t.any, c.entries, add)
	}
	for i := range c.hosts {
		t.placeHost(ed, &c.hosts[i], add)
	}
}

// Match finds the route for the method, path, host and client address of ex. It sets Route.MatchedURI and Route.MatchedHost and the path
// parameters of ex. It does not allocate, except for what conditions on a request body need.
func (t *Table) Match(ex *plugin.Exchange) (*Def, bool) { return t.MatchPath(ex, ex.Request.Path) }

// MatchPath is Match with another path than the request's; the parameters are parts of path.
func (t *Table) MatchPath(ex *plugin.Exchange, path []byte) (*Def, bool) {
	// Set one by one: a composite literal is built aside and copied in larger pieces, which waits for its stores.
	var q query
	q.t, q.ex, q.path, q.method = t, ex, path, methodBit(plugin.String(ex.Request.Method))
	if !t.hosts.empty() && q.byHost() || q.byPath(&t.any) {
		ex.Route.MatchedURI, ex.Route.MatchedHost = q.uri, q.host
		return q.def, true
	}
	return nil, false
}
