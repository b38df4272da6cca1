package plugin

import "encoding/json"

// Consumer is a consumer as one of its credentials identifies it: a consumer with three credentials appears as three values that share
// Username, one for each way in.
type Consumer struct {
	// Username names the consumer; GroupID is its consumer group or empty.
	Username, GroupID string
	// CredentialID is the id of the credential that matched, empty when the auth plugin stands in the consumer itself.
	CredentialID string
	// CustomID is labels.custom_id.
	CustomID string
	// Labels are the consumer's labels.
	Labels map[string]string
	// AuthConf is the auth plugin's consumer configuration, defaults filled and references resolved.
	AuthConf json.RawMessage
	// Engine belongs to the engine: the consumer's own plugin chain.
	Engine any
}

// ConsumerIndex finds consumers. It is immutable once published.
type ConsumerIndex struct {
	byKey  map[string]map[string]*Consumer
	byName map[string]*Consumer
}

// NewConsumerIndex returns an empty index to be filled with Add and AddKey before it is published.
func NewConsumerIndex() *ConsumerIndex {
	return &ConsumerIndex{byKey: map[string]map[string]*Consumer{}, byName: map[string]*Consumer{}}
}

// Add makes c findable by its user name.
func (x *ConsumerIndex) Add(c *Consumer) { x.byName[c.Username] = c }

// AddKey makes c findable by an auth plugin's key. A key that is taken already stays with its first owner and AddKey returns that one.
func (x *ConsumerIndex) AddKey(plugin, key string, c *Consumer) (taken *Consumer) {
	m := x.byKey[plugin]
	if m == nil {
		m = map[string]*Consumer{}
		x.byKey[plugin] = m
	}
	if old := m[key]; old != nil {
		return old
	}
	m[key] = c
	return nil
}

// ByKey finds the consumer whose credential for that plugin has that key. any is false when no consumer has the plugin at all.
func (x *ConsumerIndex) ByKey(plugin string, key []byte) (c *Consumer, any bool) {
	if x == nil {
		return nil, false
	}
	m := x.byKey[plugin]
	return m[string(key)], len(m) > 0
}

// ByName finds a consumer by user name, for anonymous_consumer.
func (x *ConsumerIndex) ByName(name string) *Consumer {
	if x == nil {
		return nil
	}
	return x.byName[name]
}
