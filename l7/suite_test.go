package l7_test

import (
	"testing"

	"github.com/sluice-gateway/sluice/l7/l7test"
)

func TestFraming(t *testing.T) { l7test.Framing(t, l7test.Start) }

func TestSemantics(t *testing.T) { l7test.Semantics(t, l7test.Start) }
