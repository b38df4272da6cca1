// Package consumerrestriction is the plugin consumer-restriction: it lets a request through by who sent it, by the consumer's group, or, standing in a
// consumer, by the route or service that it goes to.
package consumerrestriction

import (
	_ "embed" // the schema
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/sluice-gateway/sluice/l7/plugin"
)

const name = "consumer-restriction"

//go:embed schema.json
var schema []byte

func init() {
	plugin.Register(plugin.Def{Name: name, Priority: 2400, Version: "0.1", Schema: schema, New: newRestriction})
}

// maxStatus is the greatest number that fits a status line (RFC 9112 section 4); the schema of APISIX names no limit.
const maxStatus = 999

type set map[string]struct{}

type restriction struct {
	// subject reads what is judged; "" when the exchange has none.
	subject func(ex *plugin.Exchange) string
	// black and white are nil for an absent list.
	black, white set
	// methods are what each user may do; a user who is not in it may do everything.
	methods map[string]set
	// unknown answers requests without a subject, rejected those that the lists refuse.
	unknown, rejected *plugin.Reply
}

var _ plugin.Accesser = (*restriction)(nil)

var subjects = map[string]func(ex *plugin.Exchange) string{
	"route_id":   func(ex *plugin.Exchange) string { return ex.Route.ID },
	"service_id": func(ex *plugin.Exchange) string { return ex.Route.ServiceID },
	"consumer_name": func(ex *plugin.Exchange) string {
		if ex.Consumer == nil {
			return ""
		}
		return ex.Consumer.Username
	},
	"consumer_group_id": func(ex *plugin.Exchange) string {
		if ex.Consumer == nil {
			return ""
		}
		return ex.Consumer.GroupID
	},
}

func newRestriction(doc []byte, _ *plugin.Env) (plugin.Instance, error) {
	var conf struct {
		Type             string   `json:"type"`
		Blacklist        []string `json:"blacklist"`
		Whitelist        []string `json:"whitelist"`
		AllowedByMethods []struct {
			User    *string  `json:"user"`
			Methods []string `json:"methods"`
		} `json:"allowed_by_methods"`
		RejectedCode int     `json:"rejected_code"`
		RejectedMsg  *string `json:"rejected_msg"`
	}
	if err := json.Unmarshal(doc, &conf); err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if conf.RejectedCode > maxStatus {
		return nil, fmt.Errorf("property \"rejected_code\" validation failed: expected %d to be at most %d", conf.RejectedCode, maxStatus)
	}
	msg := "The " + conf.Type + " is forbidden."
	if conf.RejectedMsg != nil {
		msg = *conf.RejectedMsg
	}
	r := &restriction{
		subject:  subjects[conf.Type],
		black:    newSet(conf.Blacklist),
		white:    newSet(conf.Whitelist),
		unknown:  plugin.Message(http.StatusUnauthorized, "The request is rejected, please check the "+conf.Type+" for this request"),
		rejected: plugin.Message(conf.RejectedCode, msg),
	}
	for _, a := range conf.AllowedByMethods {
		if a.User == nil {
			continue
		}
		// The first entry of a user counts, as in APISIX.
		if _, taken := r.methods[*a.User]; taken {
			continue
		}
		if r.methods == nil {
			r.methods = map[string]set{}
		}
		r.methods[*a.User] = newSet(a.Methods)
	}
	return r, nil
}

func newSet(list []string) set {
	if len(list) == 0 {
		return nil
	}
	s := make(set, len(list))
	for _, e := range list {
		s[e] = struct{}{}
	}
	return s
}

// Access refuses the request unless the lists let its subject through: the blacklist goes first, then the whitelist, and who is on the whitelist need
// not pass allowed_by_methods.
func (r *restriction) Access(ex *plugin.Exchange) (*plugin.Reply, error) {
	subject := r.subject(ex)
	if subject == "" {
		return r.unknown, nil
	}
	if _, hit := r.black[subject]; hit {
		return r.rejected, nil
	}
	if r.white != nil {
		if _, hit := r.white[subject]; !hit {
			return r.rejected, nil
		}
		return nil, nil
	}
	if allowed, restricted := r.methods[subject]; restricted {
		if _, ok := allowed[plugin.String(ex.Request.Method)]; !ok {
			return r.rejected, nil
		}
	}
	return nil, nil
}
