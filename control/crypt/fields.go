package crypt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// FieldError says that one field could not be decrypted and was left as it is.
type FieldError struct {
	// Field is the path of the field, with indexes of arrays from 0: "a.b[2].c".
	Field string
	Err   error
}

func (e *FieldError) Error() string { return fmt.Sprintf("decrypt field %s: %v", e.Field, e.Err) }

// Unwrap gives the reason, which wraps ErrDecrypt.
func (e *FieldError) Unwrap() error { return e.Err }

// EncryptFields encrypts, in place, the fields of a decoded plugin configuration that its schema lists in
// encrypt_fields. A field is a path of names joined by dots. On the way to its end the path goes through
// objects, and through every object of an array; at the end it means a string, the strings of an array, or the
// strings among the values of an object. Paths that lead nowhere and values of other types are passed over.
// (apisix/plugin.lua, process_encrypt_field.) It returns nil; the result is there to match DecryptFields.
func (k *Keyring) EncryptFields(doc map[string]any, fields []string) error {
	return k.fields(doc, fields, func(s string) (string, error) { return k.Encrypt(s), nil })
}

// DecryptFields is the reverse of EncryptFields. A value that cannot be decrypted, such as one stored before its
// field was marked, is left as it is; the error joins a *FieldError for each of them, and the other
// fields are decrypted all the same.
func (k *Keyring) DecryptFields(doc map[string]any, fields []string) error {
	return k.fields(doc, fields, k.Decrypt)
}

func (k *Keyring) fields(doc map[string]any, fields []string, operation func(string) (string, error)) error {
	if !k.Enabled() {
		return nil
	}
	var failures []error
	apply := func(path string, s string, set func(string)) {
		result, err := operation(s)
		if err != nil {
			failures = append(failures, &FieldError{Field: path, Err: err})
			return
		}
		set(result)
	}
	for _, field := range fields {
		follow(doc, field, "", apply)
	}
	return errors.Join(failures...)
}

// follow walks one path from object and applies the operation to every string at its end. at is the path walked.
func follow(object map[string]any, path, at string, apply func(path, s string, set func(string))) {
	name, rest, further := strings.Cut(path, ".")
	value, ok := object[name]
	if !ok {
		return
	}
	at = strings.TrimPrefix(at+"."+name, ".")
	if further {
		switch v := value.(type) {
		case map[string]any:
			follow(v, rest, at, apply)
		case []any:
			for i, item := range v {
				if object, ok := item.(map[string]any); ok {
					follow(object, rest, fmt.Sprintf("%s[%d]", at, i), apply)
				}
			}
		}
		return
	}
	switch v := value.(type) {
	case string:
		apply(at, v, func(s string) { object[name] = s })
	case []any:
		for i, item := range v {
			if s, ok := item.(string); ok {
				apply(fmt.Sprintf("%s[%d]", at, i), s, func(s string) { v[i] = s })
			}
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if s, ok := v[key].(string); ok {
				apply(at+"."+key, s, func(s string) { v[key] = s })
			}
		}
	}
}
