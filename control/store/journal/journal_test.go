package journal

import (
	"testing"

	"github.com/sluice-gateway/sluice/control/store"
	"github.com/sluice-gateway/sluice/control/store/storetest"
)

func TestConformance(t *testing.T) {
	dirs := map[store.Store]string{}
	openIn := func(t *testing.T, dir string) store.Store {
		t.Helper()
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		dirs[s] = dir
		return s
	}
	storetest.Run(t,
		func(t *testing.T) store.Store { return openIn(t, t.TempDir()) },
		func(t *testing.T, s store.Store) store.Store {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return openIn(t, dirs[s])
		})
}
