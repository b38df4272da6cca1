// Package compile turns stored objects into the snapshot that the planes read, and checks single objects for
// the Admin API with the same code.
//
// It works in two stages. The first looks at one object alone: schema, defaults, decryption, $env:// references,
// what each plugin says about its configuration. The second links objects: references become pointers,
// plugins are merged (route over plugin_config over service, consumer over group), credentials join
// their consumer. Both keep what they made, per object, in the Result. The next Compile repeats the first stage for
// changed objects only and the second for objects that refer to something whose outcome changed,
// and it returns the old pointer wherever the new outcome is equal.
//
// An object that does not pass the first stage keeps being served in its last good version, and is left out
// when it never had one. Either way it is listed in Snapshot.Problems.
package compile

import (
	"encoding/json"
	"log/slog"

	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/schema"
)

// SchemaKind says at what place a plugin configuration stands, which decides the schema it must match.
type SchemaKind string

// The places of a plugin configuration.
const (
	// KindPlugin is the plugins field of everything but consumers and credentials.
	KindPlugin SchemaKind = "plugin"
	// KindConsumer is the plugins field of consumers and credentials, for plugins with a ConsumerSchema. Other plugins
	// have a KindPlugin configuration there (apisix/plugin.lua, get_plugin_schema_for_gde).
	KindConsumer SchemaKind = "consumer"
	// KindMetadata is an object of plugin_metadata.
	KindMetadata SchemaKind = "metadata"
)

// PluginInfo is what control knows about one plugin.
type PluginInfo struct {
	Name, Version string
	// Priority orders plugins inside a phase, higher first.
	Priority int
	// Auth marks plugins that may stand in credentials and identify a consumer.
	Auth bool
	// Schema, ConsumerSchema and MetadataSchema check configurations without their _meta; nil where there is none. The
	// encrypt_fields of their documents name the fields that are encrypted at rest.
	Schema, ConsumerSchema, MetadataSchema *schema.Schema
	// StreamSchema checks configurations of stream routes in place of Schema; nil when they are the same.
	StreamSchema *schema.Schema
	// ConsumerKeyField names the field that identifies a consumer, for messages; ConsumerKey reads it from a
	// KindConsumer configuration. Both are unset for plugins that identify consumers differently.
	ConsumerKeyField string
	ConsumerKey      func(conf json.RawMessage) (string, error)
	// Group is the name under which a configuration shares state with others, or empty: those with the same name must be equal. Nil for plugins without.
	Group func(conf json.RawMessage) string
	// Check is what only the plugin knows: it compiles the configuration (canonical, defaults filled, references
	// resolved, without _meta) and throws the outcome away. Nil when the schema says it all. A panic in it is an error.
	Check func(kind SchemaKind, conf json.RawMessage) error
	// Stream and HTTP tell where the plugin may be used.
	Stream, HTTP bool
}

// Plugins is the set of plugins that are built in and switched on. Its answers never change.
type Plugins interface {
	// Plugin finds a plugin by its name.
	Plugin(name string) (*PluginInfo, bool)
	// All lists the plugins by descending priority.
	All() []*PluginInfo
}

// Options are the surroundings of a Compiler.
type Options struct {
	// Plugins is required.
	Plugins Plugins
	// Env looks up environment variables for $env:// references; nil is an empty environment.
	Env func(name string) (string, bool)
	// Keyring decrypts encrypt_fields, SSL keys and upstream client keys; nil when encryption is off.
	Keyring *crypt.Keyring
	// CheckVars judges a condition expression (vars, _meta.filter); nil accepts all. Its errors are shown after
	// "failed to validate the 'vars' expression: ".
	CheckVars func(expr json.RawMessage) error
	// CheckProtocol judges the protocol of a stream route that is written; nil accepts all.
	CheckProtocol func(name string) error
	// Logger receives what is worth knowing but is no problem of an object; nil discards.
	Logger *slog.Logger
}

// CheckOptions adapt CheckObject to its caller.
type CheckOptions struct {
	// SkipReferences leaves out everything that needs other objects: references, duplicate auth keys,
	// plugins that another global rule has (configs/validate).
	SkipReferences bool
}
