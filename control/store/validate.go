package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/sluice-gateway/sluice/control/model"
)

// validate checks what does not depend on the store's content and returns the bytes of keys and values.
func validate(ops []Op) (int, error) {
	if len(ops) > MaxOps {
		return 0, fmt.Errorf("%w: %d operations, the limit is %d: split it", ErrInvalid, len(ops), MaxOps)
	}
	size := 0
	seen := make(map[model.Key]struct{}, len(ops))
	for i, op := range ops {
		if err := validateOp(op); err != nil {
			return 0, &OpError{Index: i, Key: op.Key, Err: fmt.Errorf("%w: %w", ErrInvalid, err)}
		}
		if _, twice := seen[op.Key]; twice {
			return 0, &OpError{Index: i, Key: op.Key, Err: fmt.Errorf("%w: key is in the transaction twice", ErrInvalid)}
		}
		seen[op.Key] = struct{}{}
		size += len(op.Key.Kind) + len(op.Key.ID) + len(op.Value)
	}
	if size > MaxTxnBytes {
		return 0, fmt.Errorf("%w: %d bytes, the limit is %d: split it", ErrInvalid, size, MaxTxnBytes)
	}
	return size, nil
}

func validateOp(op Op) error {
	if err := ValidKey(op.Key); err != nil {
		return err
	}
	switch {
	case op.IfMod < 0:
		return errors.New("IfMod is negative")
	case op.TTL < 0:
		return errors.New("TTL is negative")
	case op.IfMod != 0 && op.IfAbsent:
		return errors.New("IfMod and IfAbsent exclude each other")
	case op.Value == nil && op.IfAbsent:
		return errors.New("IfAbsent makes no sense for a delete")
	case op.Value == nil && op.TTL != 0:
		return errors.New("TTL makes no sense for a delete")
	case op.Value != nil && !json.Valid(op.Value):
		return errors.New("value is not JSON")
	}
	return nil
}

// ValidKey tells whether a store can hold the key: a kind without a slash, an id, both printable UTF-8 and at most
// MaxKeyBytes long together.
func ValidKey(k model.Key) error {
	switch {
	case k.Kind == "":
		return errors.New("key has no kind")
	case k.ID == "":
		return errors.New("key has no id")
	case len(k.Kind)+len(k.ID) > MaxKeyBytes:
		return fmt.Errorf("key is longer than %d bytes", MaxKeyBytes)
	case strings.Contains(string(k.Kind), "/"):
		return errors.New("kind has a slash")
	case !printable(string(k.Kind)) || !printable(k.ID):
		return errors.New("key is not printable UTF-8")
	}
	return nil
}

func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) < 0
}
