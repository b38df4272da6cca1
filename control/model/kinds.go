package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// The kinds of the Admin API, by their plural names (APISIX apisix/admin/init.lua, "resources").
const (
	Routes                 Kind = "routes"
	Services               Kind = "services"
	Upstreams              Kind = "upstreams"
	Consumers              Kind = "consumers"
	Credentials            Kind = "credentials"
	ConsumerGroups         Kind = "consumer_groups"
	PluginConfigs          Kind = "plugin_configs"
	GlobalRules            Kind = "global_rules"
	PluginMetadatas        Kind = "plugin_metadata"
	SSLs                   Kind = "ssls"
	Protos                 Kind = "protos"
	Secrets                Kind = "secrets"
	StreamRoutes           Kind = "stream_routes"
	GraphQLCostDecorations Kind = "graphql_cost_decorations"
)

// KindInfo is what the Admin API must know about one kind of resource. The facts come from
// apisix/admin/<kind>.lua of APISIX 3.18.
type KindInfo struct {
	// Kind is the plural name, the path segment below /apisix/admin.
	Kind Kind
	// Singular is the name used in messages: "wrong plugin config id", "not supported `POST` method for consumer".
	Singular string
	// Schema is the name of the resource in GET /schema/{name} and in control/schema. It is empty for kinds
	// whose schema depends on the object (secrets by manager, plugin_metadata by plugin).
	Schema string
	// Methods are the allowed methods, in the order GET, PUT, POST, PATCH, DELETE; another of these five answers
	// 405 with MethodRefused.
	Methods []string
	// IDField is the field of the body that holds the id. "username" for consumers; "id" for the rest.
	IDField string
	// IDInBody says whether the generic id rules hold: the id of the path or of the body is required on PUT,
	// refused on POST, must agree between both, and is written into the value. It is false for consumers and
	// plugin_metadata (apisix/admin/resource.lua, no_id_res).
	IDInBody bool
	// Timestamps says whether create_time and update_time are maintained. Only plugin_metadata has none.
	Timestamps bool
	// Filters are the fields that ?filter= may name in a list request.
	Filters []string
	// Refs are the fields that name other resources, in the order in which APISIX checks them on a write.
	Refs []Ref
	// ReferencedBy are the places that may refer to an object of this kind and so forbid its deletion
	// without ?force=true, in the order in which APISIX looks at them.
	ReferencedBy []Use
	// Parent is the kind that owns objects of this one ("consumers" for credentials, "services" for
	// graphql_cost_decorations), or empty. Objects live below /{parent}/{parent id}/{kind}/{id}, and their
	// Key.ID has the form "{parent id}/{kind}/{id}".
	Parent Kind
	// ParentMissing is the error_msg of the 404 given when the parent of a written object does not exist.
	ParentMissing string
	// ConsumerPlugins says that `plugins` holds consumer configurations (checked and encrypted by a plugin's
	// consumer schema where it has one).
	ConsumerPlugins bool
	// HasPlugins says that objects have a `plugins` field whose entries are checked and encrypted.
	HasPlugins bool
	// UpstreamPath is where an object keeps an inline upstream: empty when it has none, ["upstream"] in routes,
	// services and stream routes; upstreams themselves are one (see IsUpstream).
	UpstreamPath []string
	// IsUpstream says that the object itself is an upstream.
	IsUpstream bool
	// SubPathPatch says whether PATCH accepts a path below the object (PATCH /routes/1/upstream/nodes).
	SubPathPatch bool
	// Stream says that the kind is refused with 400 while the stream proxy is off.
	Stream bool
}

// Ref is a field of a resource that must name an existing object.
type Ref struct {
	// Path leads to the field; every step is a field name.
	Path []string
	// Kind is the kind of the object named.
	Kind Kind
	// Format is the message when the object does not exist, with one %s for the id.
	Format string
	// Type is what the field "type" of the object must be, or empty when it does not matter.
	Type string
	// TypeFormat is the message when it is not, with one %s for the id.
	TypeFormat string
}

// WrongType is the error_msg for a reference to an object whose type is not Type.
func (r Ref) WrongType(id string) string { return fmt.Sprintf(r.TypeFormat, id) }

// Missing is the error_msg for a reference to an object that does not exist.
func (r Ref) Missing(id string) string { return fmt.Sprintf(r.Format, id) }

// Use is a place in another kind of resource that may refer to an object.
type Use struct {
	// Kind is the kind of the referring objects.
	Kind Kind
	// Path leads to the field with the id; the step "*" stands for every element of an array.
	Path []string
	// Format is the message that refuses a deletion, with one %s for the id of the referring object.
	Format string
}

// InUse is the error_msg that refuses to delete an object which the object with this id refers to.
func (u Use) InUse(id string) string { return fmt.Sprintf(u.Format, id) }

// Allows says whether the kind supports the HTTP method.
func (k KindInfo) Allows(method string) bool { return slices.Contains(k.Methods, method) }

// MethodRefused is the error_msg of the 405 answer to a method that the kind does not support.
func (k KindInfo) MethodRefused(method string) string {
	return "not supported `" + method + "` method for " + k.Singular
}

var (
	getPutPostPatchDelete = []string{"GET", "PUT", "POST", "PATCH", "DELETE"}
	getPutPostDelete      = []string{"GET", "PUT", "POST", "DELETE"}
	getPutPatchDelete     = []string{"GET", "PUT", "PATCH", "DELETE"}
	getPutDelete          = []string{"GET", "PUT", "DELETE"}

	refUpstream = Ref{Path: []string{"upstream_id"}, Kind: Upstreams,
		Format: "failed to fetch upstream info by upstream id [%s], response code: 404"}
	refService = Ref{Path: []string{"service_id"}, Kind: Services,
		Format: "failed to fetch service info by service id [%s], response code: 404"}
	refPluginConfig = Ref{Path: []string{"plugin_config_id"}, Kind: PluginConfigs,
		Format: "failed to fetch plugin config info by plugin config id [%s], response code: 404"}
	refConsumerGroup = Ref{Path: []string{"group_id"}, Kind: ConsumerGroups,
		Format: "failed to fetch consumer group info by consumer group id [%s], response code: 404"}
	refSuperior = Ref{Path: []string{"protocol", "superior_id"}, Kind: StreamRoutes,
		Format: "failed to fetch stream routes[%s], response code: 404"}

	trafficSplitUpstream = []string{"plugins", "traffic-split", "rules", "*", "weighted_upstreams", "*", "upstream_id"}
	transcodeProto       = []string{"plugins", "grpc-transcode", "proto_id"}
)

// clientCert is the reference of an upstream below path to a client certificate.
func clientCert(path ...string) Ref {
	return Ref{Path: append(path, "tls", "client_cert_id"), Kind: SSLs,
		Format: "failed to fetch ssl info by ssl id [%s], response code: 404", Type: "client",
		TypeFormat: "failed to fetch ssl info by ssl id [%s], wrong ssl type"}
}

// upstreamUse is a deletion rule of upstreams for the upstreams of traffic-split in another kind.
func upstreamPluginUse(kind Kind, noun string) Use {
	return Use{Kind: kind, Path: trafficSplitUpstream,
		Format: "can not delete this upstream, plugin in " + noun + " [%s] is still using it now"}
}

var kinds = []KindInfo{
	{
		Kind: Routes, Singular: "route", Schema: "route", Methods: getPutPostPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true,
		Filters:    []string{"service_id", "upstream_id"},
		Refs:       []Ref{clientCert("upstream"), refUpstream, refService, refPluginConfig},
		HasPlugins: true, UpstreamPath: []string{"upstream"},
	},
	{
		Kind: Services, Singular: "service", Schema: "service", Methods: getPutPostPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true,
		Refs:       []Ref{clientCert("upstream"), refUpstream},
		HasPlugins: true, UpstreamPath: []string{"upstream"},
		ReferencedBy: []Use{
			{Kind: Routes, Path: []string{"service_id"},
				Format: "can not delete this service directly, route [%s] is still using it now"},
			{Kind: StreamRoutes, Path: []string{"service_id"},
				Format: "can not delete this service directly, stream_route [%s] is still using it now"},
		},
	},
	{
		Kind: Upstreams, Singular: "upstream", Schema: "upstream", Methods: getPutPostPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true, IsUpstream: true,
		Refs: []Ref{clientCert()},
		ReferencedBy: []Use{
			upstreamPluginUse(Routes, "route"),
			{Kind: Routes, Path: []string{"upstream_id"},
				Format: "can not delete this upstream, route [%s] is still using it now"},
			upstreamPluginUse(Services, "service"),
			{Kind: Services, Path: []string{"upstream_id"},
				Format: "can not delete this upstream, service [%s] is still using it now"},
			upstreamPluginUse(PluginConfigs, "plugin_config"),
			upstreamPluginUse(Consumers, "consumer"),
			upstreamPluginUse(ConsumerGroups, "consumer_group"),
			upstreamPluginUse(GlobalRules, "global_rules"),
		},
	},
	{
		Kind: Consumers, Singular: "consumer", Schema: "consumer", Methods: getPutDelete,
		IDField: "username", Timestamps: true,
		Refs:       []Ref{refConsumerGroup},
		HasPlugins: true, ConsumerPlugins: true,
	},
	{
		Kind: Credentials, Singular: "credential", Schema: "credential", Methods: getPutDelete,
		IDField: "id", IDInBody: true, Timestamps: true,
		Parent: Consumers, ParentMissing: "consumer not found",
		HasPlugins: true, ConsumerPlugins: true,
	},
	{
		Kind: ConsumerGroups, Singular: "consumer group", Schema: "consumer_group", Methods: getPutPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true, HasPlugins: true,
		ReferencedBy: []Use{{Kind: Consumers, Path: []string{"group_id"},
			Format: "can not delete this consumer group, consumer [%s] is still using it now"}},
	},
	{
		Kind: PluginConfigs, Singular: "plugin config", Schema: "plugin_config", Methods: getPutPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true, HasPlugins: true,
		ReferencedBy: []Use{{Kind: Routes, Path: []string{"plugin_config_id"},
			Format: "can not delete this plugin config, route [%s] is still using it now"}},
	},
	{
		Kind: GlobalRules, Singular: "global rule", Schema: "global_rule", Methods: getPutPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true, HasPlugins: true,
	},
	{
		Kind: PluginMetadatas, Singular: "plugin_metadata", Methods: getPutDelete,
		IDField: "id",
	},
	{
		Kind: SSLs, Singular: "ssl", Schema: "ssl", Methods: getPutPostPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true,
	},
	{
		Kind: Protos, Singular: "proto", Schema: "proto", Methods: getPutPostDelete,
		IDField: "id", IDInBody: true, Timestamps: true,
		ReferencedBy: []Use{
			{Kind: Routes, Path: transcodeProto,
				Format: "can not delete this proto, route [%s] is still using it now"},
			{Kind: Services, Path: transcodeProto,
				Format: "can not delete this proto, service [%s] is still using it now"},
		},
	},
	{
		Kind: Secrets, Singular: "secret", Methods: getPutPatchDelete,
		IDField: "id", IDInBody: true, Timestamps: true, SubPathPatch: true,
	},
	{
		Kind: StreamRoutes, Singular: "stream route", Schema: "stream_route", Methods: getPutPostDelete,
		IDField: "id", IDInBody: true, Timestamps: true, Stream: true,
		Filters:    []string{"service_id", "upstream_id"},
		Refs:       []Ref{refUpstream, refService, refSuperior},
		HasPlugins: true, UpstreamPath: []string{"upstream"},
		ReferencedBy: []Use{{Kind: StreamRoutes, Path: []string{"protocol", "superior_id"},
			Format: "can not delete this stream route directly, stream route [%s] is still using it as superior_id"}},
	},
	{
		Kind: GraphQLCostDecorations, Singular: "graphql cost decoration", Schema: "graphql_cost_decoration",
		Methods: getPutPostPatchDelete, IDField: "id", IDInBody: true, Timestamps: true,
		Parent: Services, ParentMissing: "service not found",
	},
}

// Kinds is the table of all kinds. The slices inside are shared and must not be changed.
func Kinds() []KindInfo { return slices.Clone(kinds) }

// Lookup finds a kind by its plural name.
func Lookup(kind Kind) (KindInfo, bool) {
	for i := range kinds {
		if kinds[i].Kind == kind {
			return kinds[i], true
		}
	}
	return KindInfo{}, false
}

// IDs collects the ids found at path in a decoded JSON document, as strings. The step "*" goes through every
// element of an array. Whatever does not have the shape that the path expects is passed over, as are empty ids.
func IDs(doc any, path []string) []string {
	if len(path) == 0 {
		if id := idText(doc); id != "" {
			return []string{id}
		}
		return nil
	}
	if path[0] == "*" {
		items, _ := doc.([]any)
		var ids []string
		for _, item := range items {
			ids = append(ids, IDs(item, path[1:])...)
		}
		return ids
	}
	object, _ := doc.(map[string]any)
	value, ok := object[path[0]]
	if !ok {
		return nil
	}
	return IDs(value, path[1:])
}

// idText is the text of an id given as a string or a number, or "".
func idText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		if id, err := parseNumericID(v.String()); err == nil {
			return id
		}
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}
