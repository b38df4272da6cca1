package compile

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/control/model"
	"github.com/sluice-gateway/sluice/control/store"
)

// TestObjects compares states derived by random changes with states made anew, and checks that the old ones stay.
func TestObjects(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	want := make(map[model.Key]store.Object)
	state := NewObjects(0, nil)
	for rev := store.Rev(1); rev <= 500; rev++ {
		before, list := state, slices.Clone(state.List(model.Routes))
		changes := make(map[model.Key]*store.Object)
		for range 1 + rnd.IntN(4) {
			key := model.Key{Kind: model.Routes, ID: fmt.Sprint(rnd.IntN(30))}
			if rnd.IntN(3) == 0 {
				key.Kind = model.Services
			}
			if rnd.IntN(3) == 0 {
				changes[key] = nil
				delete(want, key)
				continue
			}
			o := store.Object{Key: key, Create: rev, Mod: rev}
			if old, ok := want[key]; ok && rnd.IntN(4) > 0 {
				o.Create = old.Create
			}
			changes[key] = &o
			want[key] = o
		}
		state = state.With(rev, changes)
		var all []store.Object
		for _, o := range want {
			all = append(all, o)
		}
		fresh := NewObjects(rev, all)
		for _, kind := range []model.Kind{model.Routes, model.Services} {
			if diff := cmp.Diff(fresh.List(kind), state.List(kind)); diff != "" && len(fresh.List(kind))+len(state.List(kind)) > 0 {
				t.Fatalf("revision %d, %s (-want +got):\n%s", rev, kind, diff)
			}
			for i := range 30 {
				key := model.Key{Kind: kind, ID: fmt.Sprint(i)}
				if diff := cmp.Diff(fresh.Get(key), state.Get(key)); diff != "" {
					t.Fatalf("revision %d, %s (-want +got):\n%s", rev, key, diff)
				}
			}
		}
		if !slices.Equal(list, before.List(model.Routes)) || before.Rev() != rev-1 {
			t.Fatalf("revision %d: the state before changed", rev)
		}
	}
}
