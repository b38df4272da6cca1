package plugin

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sort"
)

// Def defines one plugin.
type Def struct {
	// Name is APISIX's name of the plugin ("limit-count").
	Name string
	// Priority orders plugins inside a phase, higher first; _meta.priority overrides it for one object.
	Priority int
	// Version is the plugin's schema version as APISIX counts it.
	Version string
	// Auth marks an authentication plugin: it may stand in consumers and credentials, and it finds the consumer.
	Auth bool
	// Stream allows the plugin in stream routes. Its Rewrite and Access then also run for connections: of the Exchange only addresses, times, route, upstream and bytes mean
	// something, and a Reply refuses the connection whatever it says. In place of Log a StreamLogger is called.
	Stream bool
	// PreferRoute makes a global rule skip this plugin for routes that configure it themselves (APISIX's run_policy).
	PreferRoute bool
	// Schema, ConsumerSchema and MetadataSchema are draft-07 JSON Schemas. The last two are nil where the plugin has none. A top-level
	// "encrypt_fields" array names the fields to encrypt at rest.
	Schema, ConsumerSchema, MetadataSchema []byte
	// StreamSchema is for stream routes in place of Schema; nil when they are the same.
	StreamSchema []byte
	// New compiles a configuration that passed Schema, defaults filled and references resolved. Its errors become
	// "failed to check the configuration of plugin NAME err: ERROR". It must not start anything that outlives an instance that is dropped without
	// Close, and it must be quick: it also runs for validation only.
	New func(conf []byte, env *Env) (Instance, error)
	// ConsumerKey returns what identifies a consumer to this auth plugin (key-auth: its key), from a consumer's or credential's
	// configuration. Nil for plugins that are not auth plugins.
	ConsumerKey func(conf []byte) (string, error)
	// ConsumerKeyField names the field that ConsumerKey reads, for messages about duplicates.
	ConsumerKeyField string
	// Group returns the name under which a configuration shares state with other instances, or empty. The Admin API refuses a configuration that names a
	// group in which another object has a different one. Nil for plugins without groups.
	Group func(conf []byte) string
}

// Instance is a compiled configuration. It implements at least one phase interface.
type Instance any

// Rewriter runs before Accesser; authentication happens here. A non-nil Reply ends the request phases and is sent to the client; an error
// is a fault of the gateway: the client gets 500 and the error is logged.
type Rewriter interface {
	Rewrite(ex *Exchange) (*Reply, error)
}

// Accesser decides whether and how the request goes on.
type Accesser interface {
	Access(ex *Exchange) (*Reply, error)
}

// BeforeProxier runs when the upstream node has been picked and before the request is sent to it.
type BeforeProxier interface {
	BeforeProxy(ex *Exchange) (*Reply, error)
}

// HeaderFilterer edits [Exchange.Response] before its head is sent to the client. It runs for replies of the gateway too.
type HeaderFilterer interface {
	HeaderFilter(ex *Exchange) error
}

// BodyFilterer sees the response body as it passes. It returns what goes on instead of chunk: chunk itself, other bytes that stay
// valid until the next call, or nothing (to collect). last is true exactly once, with the final, possibly empty chunk. A filter that
// changes the length calls [Exchange.BodyWillChange] in its HeaderFilter.
type BodyFilterer interface {
	BodyFilter(ex *Exchange, chunk []byte, last bool) ([]byte, error)
}

// Logger runs when the exchange is over.
type Logger interface {
	Log(ex *Exchange)
}

// StreamLogger is implemented by instances whose log phase differs for connections of stream routes.
type StreamLogger interface {
	StreamLog(ex *Exchange)
}

// Waiter is implemented by instances whose Rewrite, Access or BeforeProxy may block. The engine runs those on a goroutine; HeaderFilter,
// BodyFilter and Log never block.
type Waiter interface {
	MayWait() bool
}

// BodyReader is implemented by instances that need the whole request body before the rewrite phase.
type BodyReader interface {
	// RequestBody returns the most bytes that the instance wants buffered (a larger body is refused with 413), or 0 for none.
	RequestBody() int64
}

// BodyVarsReader is implemented by instances whose configuration may name variables that read the request body (VarNeedsBody). The engine
// then buffers the body before the rewrite phase, up to the bound for conditions on bodies.
type BodyVarsReader interface {
	ReadsBodyVars() bool
}

// Closer is implemented by instances that hold something; the engine calls Close when no published configuration uses the instance any more.
type Closer interface {
	Close()
}

// Env is what New gets from its surroundings.
type Env struct {
	// Resource is the store key of the object that holds the configuration ("/routes/1", "/consumers/jack"). Counters are keyed by it.
	Resource string
	// Metadata is the plugin_metadata of this plugin with defaults filled, or nil. When it changes, instances are made anew.
	Metadata json.RawMessage
	// Attr is the plugin's entry in plugin_attr of config.yaml as JSON, or nil.
	Attr json.RawMessage
	// Logger is for faults; it carries the plugin's name.
	Logger *slog.Logger
	// Shared returns the process-wide object of that name, making it with mk the first time. It outlives instances: counters live here,
	// so that an edit of another field does not lose them. What implements prometheus.Collector is exported with the gateway's metrics.
	Shared func(name string, mk func() any) any
}

var registry = map[string]*Def{}

// Register adds a plugin. It panics on an empty or duplicate name and on a Def without Schema or New: those are mistakes in the program.
func Register(d Def) {
	switch {
	case d.Name == "":
		panic("plugin: a definition has no name")
	case d.Schema == nil || d.New == nil:
		panic(fmt.Sprintf("plugin: %s needs Schema and New", d.Name))
	case d.Auth && (d.ConsumerKey == nil || d.ConsumerSchema == nil):
		panic(fmt.Sprintf("plugin: %s is an auth plugin and needs ConsumerKey and ConsumerSchema", d.Name))
	case registry[d.Name] != nil:
		panic(fmt.Sprintf("plugin: %s is registered twice", d.Name))
	}
	registry[d.Name] = &d
}

// Lookup finds a registered plugin.
func Lookup(name string) (*Def, bool) {
	d, ok := registry[name]
	return d, ok
}

// All lists the registered plugins by descending priority, then by name.
func All() []*Def {
	all := make([]*Def, 0, len(registry))
	for _, d := range registry {
		all = append(all, d)
	}
	sort.Slice(all, func(i, j int) bool {
		if all[i].Priority != all[j].Priority {
			return all[i].Priority > all[j].Priority
		}
		return all[i].Name < all[j].Name
	})
	return all
}
