package adminapi

import (
	"bytes"
	"encoding/json"

	"github.com/sluice-gateway/sluice/control/compile"
	"github.com/sluice-gateway/sluice/control/crypt"
	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/schema"
)

// sealer encrypts what is secret in objects before they are stored, and decrypts it for answers. A nil keyring makes it do nothing.
type sealer struct {
	keyring *crypt.Keyring
	plugins map[string]sealedFields
}

// sealedFields are the encrypt_fields of one plugin by place.
type sealedFields struct {
	conf, consumer, metadata []string
	hasConsumer              bool
}

func newSealer(plugins compile.Plugins, k *crypt.Keyring) *sealer {
	s := &sealer{keyring: k, plugins: map[string]sealedFields{}}
	for _, p := range plugins.All() {
		f := sealedFields{conf: encryptFields(p.Schema), consumer: encryptFields(p.ConsumerSchema), metadata: encryptFields(p.MetadataSchema),
			hasConsumer: p.ConsumerSchema != nil}
		if len(f.conf)+len(f.consumer)+len(f.metadata) > 0 {
			s.plugins[p.Name] = f
		}
	}
	return s
}

func encryptFields(s *schema.Schema) []string {
	if s == nil {
		return nil
	}
	var doc struct {
		Fields []string `json:"encrypt_fields"`
	}
	if json.Unmarshal(s.Raw(), &doc) != nil {
		return nil
	}
	return doc.Fields
}

// each calls apply for every plugin configuration of the object that has fields to encrypt.
func (s *sealer) each(kind model.Kind, object map[string]any, apply func(conf map[string]any, fields []string)) {
	info, _ := model.Lookup(kind)
	if kind == model.PluginMetadatas {
		if id, _ := object["id"].(string); len(s.plugins[id].metadata) > 0 {
			apply(object, s.plugins[id].metadata)
		}
		return
	}
	list, _ := object["plugins"].(map[string]any)
	for name, v := range list {
		f, known := s.plugins[name]
		conf, ok := v.(map[string]any)
		if !known || !ok {
			continue
		}
		fields := f.conf
		if info.ConsumerPlugins && f.hasConsumer {
			fields = f.consumer
		}
		if len(fields) > 0 {
			apply(conf, fields)
		}
	}
}

// sealed is the value to store.
func (s *sealer) sealed(kind model.Kind, object map[string]any) json.RawMessage {
	if !s.keyring.Enabled() {
		return encode(object)
	}
	s.each(kind, object, func(conf map[string]any, fields []string) { _ = s.keyring.EncryptFields(conf, fields) })
	if kind == model.SSLs {
		s.key(object, "key")
		if keys, ok := object["keys"].([]any); ok {
			for i, k := range keys {
				if text, ok := k.(string); ok {
					keys[i] = s.keyring.EncryptKey(text)
				}
			}
		}
	}
	up := object
	if kind != model.Upstreams {
		up, _ = object["upstream"].(map[string]any)
	}
	if tls, ok := up["tls"].(map[string]any); ok {
		s.key(tls, "client_key")
	}
	return encode(object)
}

func (s *sealer) key(object map[string]any, field string) {
	if text, ok := object[field].(string); ok {
		object[field] = s.keyring.EncryptKey(text)
	}
}

// open decrypts plugin fields in place; what does not decrypt stays as it is. Private keys stay encrypted.
func (s *sealer) open(kind model.Kind, object map[string]any) {
	if s.keyring.Enabled() {
		s.each(kind, object, func(conf map[string]any, fields []string) { _ = s.keyring.DecryptFields(conf, fields) })
	}
}

// concerns tells whether a stored value may hold encrypted plugin fields.
func (s *sealer) concerns(kind model.Kind, value json.RawMessage) bool {
	if !s.keyring.Enabled() {
		return false
	}
	if kind == model.PluginMetadatas {
		return true
	}
	for name := range s.plugins {
		if bytes.Contains(value, []byte(name)) {
			return true
		}
	}
	return false
}
