package store_test

import (
	"encoding/json"
	"strconv"
	"testing"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

func filled(b *testing.B, n int) store.Store {
	b.Helper()
	s := store.NewMemory()
	b.Cleanup(func() { s.Close() })
	for i := range n {
		k := model.Key{Kind: "routes", ID: strconv.Itoa(i)}
		if _, _, err := s.Txn(b.Context(), []store.Op{{Key: k, Value: json.RawMessage(`{}`)}}); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

// BenchmarkList lists 10,000 objects.
func BenchmarkList(b *testing.B) {
	s := filled(b, 10_000)
	for b.Loop() {
		if _, _, err := s.List(b.Context(), "routes"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGet reads one of 10,000 objects.
func BenchmarkGet(b *testing.B) {
	s := filled(b, 10_000)
	for b.Loop() {
		if _, err := s.Get(b.Context(), model.Key{Kind: "routes", ID: "7000"}); err != nil {
			b.Fatal(err)
		}
	}
}
