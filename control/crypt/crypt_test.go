package crypt

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	key128 = "edd1c9f0985e76a2"
	key256 = "0123456789abcdef0123456789abcdef"
	other  = "qeddd145sfvddff3"
)

func keyring(t testing.TB, keys ...string) *Keyring {
	t.Helper()
	k, err := NewKeyring(keys)
	if err != nil {
		t.Fatalf("NewKeyring: %v", err)
	}
	return k
}

func TestNewKeyringRefusesOtherLengths(t *testing.T) {
	for name, bad := range map[string]string{"empty": "", "short": "short-secret-key", "between": strings.Repeat("x", 24)} {
		if len(bad) == 16 {
			bad = bad[:15]
		}
		t.Run(name, func(t *testing.T) {
			_, err := NewKeyring([]string{key128, bad})
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), "entry 2") || (bad != "" && strings.Contains(err.Error(), bad)) {
				t.Errorf("error %q should name the entry and not the key", err)
			}
		})
	}
}

func TestEncryptDecrypt(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 1000)
	for _, key := range []string{key128, key256} {
		k := keyring(t, key)
		for _, plain := range []string{"", "a", "123456789012345", "1234567890123456", "日本語", "a\x00b", long} {
			encrypted := k.Encrypt(plain)
			if encrypted == plain {
				t.Errorf("%q was not encrypted", plain)
			}
			got, err := k.Decrypt(encrypted)
			if err != nil || got != plain {
				t.Errorf("Decrypt(Encrypt(%.20q)) = %.20q, %v", plain, got, err)
			}
		}
	}
}

// TestAPISIXValues: a value that APISIX's own tests hold in the store, for the keyring they configure
// (t/node/data_encrypt.t: basic-auth password "bar").
func TestAPISIXValues(t *testing.T) {
	k := keyring(t, key128)
	if got := k.Encrypt("bar"); got != "77+NmbYqNfN+oLm0aX5akg==" {
		t.Errorf("Encrypt = %s", got)
	}
}

func TestOpenSSLAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("the openssl command is not installed")
	}
	for name, key := range map[string]string{"-aes-128-cbc": key128, "-aes-256-cbc": key256} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(openssl, "enc", name, "-K", hex.EncodeToString([]byte(key)),
				"-iv", hex.EncodeToString([]byte(key[:16])))
			cmd.Stdin = strings.NewReader("the quick brown fox")
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("run openssl: %v", err)
			}
			want := base64.StdEncoding.EncodeToString(out)
			if got := keyring(t, key).Encrypt("the quick brown fox"); got != want {
				t.Errorf("Encrypt = %s, openssl says %s", got, want)
			}
		})
	}
}

func TestKeyRotation(t *testing.T) {
	old := keyring(t, other).Encrypt("secret")
	rotated := keyring(t, key128, other)
	got, err := rotated.Decrypt(old)
	if err != nil || got != "secret" {
		t.Errorf("Decrypt with the second key = %q, %v", got, err)
	}
	if rotated.Encrypt("secret") == old {
		t.Error("the second key encrypted")
	}
}

func TestDecryptFailures(t *testing.T) {
	k := keyring(t, key128)
	for name, text := range map[string]string{
		"clear text":   "my-password!",
		"empty":        "",
		"short blocks": base64.StdEncoding.EncodeToString([]byte("short")),
		"other key":    keyring(t, other).Encrypt("secret"),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := k.Decrypt(text)
			if !errors.Is(err, ErrDecrypt) {
				t.Fatalf("error = %v", err)
			}
			if text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("error %q shows the value", err)
			}
		})
	}
}

func TestEmptyKeyringPassesThrough(t *testing.T) {
	var none *Keyring
	for name, k := range map[string]*Keyring{"nil": none, "empty": keyring(t)} {
		t.Run(name, func(t *testing.T) {
			got, err := k.Decrypt(k.Encrypt("x"))
			if err != nil || got != "x" || k.Encrypt("x") != "x" {
				t.Errorf("got %q, %v", got, err)
			}
			doc := map[string]any{"a": "x"}
			if err := k.EncryptFields(doc, []string{"a"}); err != nil || doc["a"] != "x" {
				t.Errorf("EncryptFields: %v, %v", doc, err)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	k := keyring(t, key128)
	const pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
	encrypted := k.EncryptKey(pem)
	if encrypted == pem || k.EncryptKey(encrypted) != encrypted || k.EncryptKey("$secret://vault/1/k") != "$secret://vault/1/k" {
		t.Error("EncryptKey must encrypt PEM, once, and nothing else")
	}
	for _, text := range []string{encrypted, pem} {
		if got, err := k.DecryptKey(text); err != nil || got != pem {
			t.Errorf("DecryptKey = %q, %v", got, err)
		}
	}
	if got, err := k.DecryptKey("$env://KEY"); err != nil || got != "$env://KEY" {
		t.Errorf("DecryptKey of a reference = %q, %v", got, err)
	}
}

func TestFields(t *testing.T) {
	k := keyring(t, key128)
	e := k.Encrypt
	tests := []struct {
		name   string
		fields []string
		doc    string
		want   map[string]any
	}{
		{"string", []string{"key"}, `{"key":"a","other":"a"}`, map[string]any{"key": e("a"), "other": "a"}},
		{"absent", []string{"key", "a.b"}, `{"x":"a"}`, map[string]any{"x": "a"}},
		{"other types", []string{"n", "b", "z"}, `{"n":1,"b":true,"z":null}`, map[string]any{"n": 1.0, "b": true, "z": nil}},
		{"array of strings", []string{"keys"}, `{"keys":["a",1,"b"]}`, map[string]any{"keys": []any{e("a"), 1.0, e("b")}}},
		{"map of strings", []string{"auth.header"}, `{"auth":{"header":{"x":"a","y":2}}}`,
			map[string]any{"auth": map[string]any{"header": map[string]any{"x": e("a"), "y": 2.0}}}},
		{"deep", []string{"a.b.c.d"}, `{"a":{"b":{"c":{"d":"v"}}}}`,
			map[string]any{"a": map[string]any{"b": map[string]any{"c": map[string]any{"d": e("v")}}}}},
		{"through arrays", []string{"brokers.sasl_config.password"},
			`{"brokers":[{"sasl_config":{"password":"p","user":"u"}},{"host":"h"},"text"]}`,
			map[string]any{"brokers": []any{
				map[string]any{"sasl_config": map[string]any{"password": e("p"), "user": "u"}},
				map[string]any{"host": "h"}, "text"}}},
		{"through a scalar", []string{"a.b"}, `{"a":"text"}`, map[string]any{"a": "text"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var doc, original map[string]any
			for _, v := range []*map[string]any{&doc, &original} {
				if err := json.Unmarshal([]byte(tt.doc), v); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.EncryptFields(doc, tt.fields); err != nil {
				t.Fatalf("EncryptFields: %v", err)
			}
			if diff := cmp.Diff(tt.want, doc); diff != "" {
				t.Errorf("encrypted (-want +got):\n%s", diff)
			}
			if err := k.DecryptFields(doc, tt.fields); err != nil {
				t.Fatalf("DecryptFields: %v", err)
			}
			if diff := cmp.Diff(original, doc); diff != "" {
				t.Errorf("decrypted (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecryptFieldsReportsAndGoesOn(t *testing.T) {
	k := keyring(t, key128)
	doc := map[string]any{
		"list": []any{"in the clear", k.Encrypt("a")},
		"map":  map[string]any{"x": "clear too", "y": k.Encrypt("b")},
	}
	err := k.DecryptFields(doc, []string{"list", "map"})
	want := map[string]any{
		"list": []any{"in the clear", "a"},
		"map":  map[string]any{"x": "clear too", "y": "b"},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !errors.Is(err, ErrDecrypt) {
		t.Fatalf("error = %v", err)
	}
	for _, part := range []string{"list[0]", "map.x"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not name %s", err, part)
		}
	}
	if strings.Contains(err.Error(), "clear") {
		t.Errorf("error %q shows a value", err)
	}
	var field *FieldError
	if !errors.As(err, &field) || field.Field != "list[0]" {
		t.Errorf("first field error = %+v", field)
	}
}

func TestSecretIsNotShown(t *testing.T) {
	type holder struct {
		Name string
		Key  Secret
		Ptr  *Secret
	}
	s := Secret("hunter2")
	h := holder{"n", s, &s}
	var logged bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	logger.Info("test", "secret", s, "holder", h)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("test", "secret", s, "holder", h)
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	outputs := []string{logged.String(), string(encoded), fmt.Sprint(s, h.Key), fmt.Sprintf("%s %v %+v %#v %q %x %d", s, s, s, s, s, s, s),
		fmt.Sprintf("%v %+v %#v", h, h, h), fmt.Errorf("fail: %v", s).Error()}
	for _, out := range outputs {
		for _, leak := range []string{"hunter2", hex.EncodeToString([]byte("hunter2"))} {
			if strings.Contains(out, leak) {
				t.Errorf("shows the secret: %s", out)
			}
		}
		if !strings.Contains(out, "[redacted]") {
			t.Errorf("does not say redacted: %s", out)
		}
	}
	if s.Reveal() != "hunter2" {
		t.Error("Reveal does not reveal")
	}
	var decoded holder
	if err := json.Unmarshal([]byte(`{"Key":"k"}`), &decoded); err != nil || decoded.Key.Reveal() != "k" {
		t.Errorf("decoded %q, %v", decoded.Key.Reveal(), err)
	}
}

func FuzzDecrypt(f *testing.F) {
	f.Add("")
	f.Add("77+NmbYqNfN+oLm0aX5akg==")
	f.Add("AAAAAAAAAAAAAAAAAAAAAA==")
	k, err := NewKeyring([]string{key128, key256})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := k.Decrypt(text); err != nil && !errors.Is(err, ErrDecrypt) {
			t.Errorf("error = %v", err)
		}
		got, err := k.Decrypt(k.Encrypt(text))
		if err != nil || got != text {
			t.Errorf("round trip of %q = %q, %v", text, got, err)
		}
	})
}
