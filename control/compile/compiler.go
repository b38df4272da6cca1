package compile

import (
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/sluice-gateway/sluice/control/crypt"
)

// Compiler checks objects and compiles snapshots. It is safe for concurrent use.
type Compiler struct {
	plugins   Plugins
	env       func(string) (string, bool)
	keyring   *crypt.Keyring
	checkVars func(json.RawMessage) error
	checkProt func(name string) error
	logger    *slog.Logger
	// sealed are the fields that are encrypted at rest.
	sealed map[sealedKey][]string
	auth   storedCache[[]authKey]
	groups storedCache[uses]
}

type sealedKey struct {
	plugin string
	kind   SchemaKind
}

// New returns a compiler. It panics when a plugin's schema has malformed encrypt_fields, which is a fault of the
// program.
func New(o Options) *Compiler {
	c := &Compiler{
		plugins:   o.Plugins,
		env:       o.Env,
		keyring:   o.Keyring,
		checkVars: o.CheckVars,
		checkProt: o.CheckProtocol,
		logger:    o.Logger,
		sealed:    make(map[sealedKey][]string),
	}
	if c.checkVars == nil {
		c.checkVars = func(json.RawMessage) error { return nil }
	}
	if c.checkProt == nil {
		c.checkProt = func(string) error { return nil }
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	for _, info := range o.Plugins.All() {
		for _, kind := range []SchemaKind{KindPlugin, KindConsumer, KindMetadata} {
			fields, err := encryptFields(info.schema(kind))
			if err != nil {
				panic(fmt.Sprintf("plugin %s: %v", info.Name, err))
			}
			c.sealed[sealedKey{info.Name, kind}] = fields
		}
	}
	return c
}
