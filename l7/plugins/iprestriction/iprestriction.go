// Package iprestriction is the plugin ip-restriction: it lets a request through by the address of its client.
package iprestriction

import (
	_ "embed" // the schema
	"encoding/json"
	"fmt"

	"github.com/sluice-gateway/sluice/l7/plugin"
	"github.com/sluice-gateway/sluice/l7/plugin/ipset"
)

const name = "ip-restriction"

//go:embed schema.json
var schema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 3000, Stream: true, Version: "0.1", Schema: schema, New: newRestriction})
}

type restriction struct {
	set *ipset.Set
	// allow tells whether set is a whitelist.
	allow    bool
	rejected *plugin.Reply
}

var _ plugin.Accesser = (*restriction)(nil)

func newRestriction(doc []byte, _ *plugin.Env) (plugin.Instance, error) {
	var conf struct {
		Message      string   `json:"message"`
		ResponseCode int      `json:"response_code"`
		Whitelist    []string `json:"whitelist"`
		Blacklist    []string `json:"blacklist"`
	}
	if err := json.Unmarshal(doc, &conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	// The schema lets exactly one of the lists be there.
	list, allow := conf.Blacklist, false
	if conf.Whitelist != nil {
		list, allow = conf.Whitelist, true
	}
	set, err := ipset.New(list)
	if err != nil {
		return nil, err
	}
	return &restriction{set: set, allow: allow, rejected: plugin.Message(conf.ResponseCode, conf.Message)}, nil
}

// Access judges $remote_addr: the client's address after trusted addresses were applied. A client without an address is on no list.
func (r *restriction) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	if r.set.Contains(ex.Client.Addr()) != r.allow {
		return r.rejected, nil
	}
	return nil, nil
}
