package crypt

import (
	"fmt"
	"log/slog"
)

// redacted is what is shown of a secret.
const redacted = "[redacted]"

// Secret is a string that is not shown: fmt prints "[redacted]" for it under every verb, and so do log/slog,
// JSON and text encoders. Only Reveal gives the value. It decodes from JSON like a string.
type Secret string

// Reveal is the value itself.
func (s Secret) Reveal() string { return string(s) }

// String is "[redacted]".
func (s Secret) String() string { return redacted }

// Format prints "[redacted]" whatever the verb, so that not even %#v, %q or %x shows the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, redacted) }

// LogValue is "[redacted]".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText gives "[redacted]", which encoding/json and others use.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the value, so that a type with MarshalText still decodes.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
