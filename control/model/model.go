// Package model names the configuration resources of the Admin API. It is data only: which kinds exist,
// what identifies an object, and the wire structs of the resources as APISIX 3.18 writes them.
package model

// Kind is the plural directory name of a resource, as it appears in Admin API paths and in store keys
// ("routes", "plugin_configs", ...).
type Kind string

// Key identifies one object. ID is the last part of its store key; credentials and secrets have a slash in
// theirs ("jack/credentials/c1", "vault/1").
type Key struct {
	Kind Kind
	ID   string
}

// String is the key as the Admin API shows it without the /apisix prefix: "/routes/1".
func (k Key) String() string { return "/" + string(k.Kind) + "/" + k.ID }
