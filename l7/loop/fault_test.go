package loop_test

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/l7"
	"github.com/sluice-gateway/sluice/l7/l7test"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the faults, 0 for a random one")

// seed returns the seed of this run and says which it is.
func seed(t *testing.T) uint64 {
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed=%d", s)
	return s
}

// faulty starts planes with benign faults.
func faulty(s uint64) l7test.Starter {
	return func(t testing.TB, o l7.Options, snap *snapshot.Snapshot) *l7test.Gateway {
		s++
		o.Loop = o.Loop.WithFaults(s, false)
		return l7test.Start(t, o, snap)
	}
}

func TestSemanticsWithFaults(t *testing.T) { l7test.Semantics(t, faulty(seed(t))) }

func TestFramingWithFaults(t *testing.T) { l7test.Framing(t, faulty(seed(t))) }
