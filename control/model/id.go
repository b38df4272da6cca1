package model

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
)

// ID is the identifier of an object. On the wire it is a string or a positive integer; here it is always the
// string, which is how APISIX stores it ("1" for 1).
type ID string

// UnmarshalJSON accepts a string or an integer of at least 1.
func (id *ID) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("decode id: %w", err)
		}
		*id = ID(s)
		return nil
	}
	if string(data) == "null" {
		return nil
	}
	s, err := parseNumericID(string(data))
	if err != nil {
		return err
	}
	*id = ID(s)
	return nil
}

// parseNumericID turns the JSON text of a positive integer into its shortest decimal form; 1.0 and 1e0 are 1.
func parseNumericID(text string) (string, error) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 1 {
			return "", fmt.Errorf("decode id %s: expected a string or an integer of at least 1", text)
		}
		return strconv.FormatInt(n, 10), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || f < 1 || f != math.Trunc(f) || f >= 1<<63 {
		return "", fmt.Errorf("decode id %s: expected a string or an integer of at least 1", clip(text))
	}
	return strconv.FormatInt(int64(f), 10), nil
}

// clip keeps what goes into a message short.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "..."
	}
	return s
}
