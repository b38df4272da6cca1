package reconcile

import (
	"context"

	"github.com/sluice-gateway/sluice/control/snapshot"
)

// Plane is a consumer of snapshots. The controller calls it from one goroutine at a time.
type Plane interface {
	// Name names the plane in Status and in logs.
	Name() string
	// Prepare builds what the snapshot needs, aside from what is in use: it has no effect until Commit. An error refuses
	// the snapshot. It must not read Rev of the snapshot and take Created of routes for their order only: the
	// revision of a change is known, and both are set, between Prepare and Commit.
	Prepare(ctx context.Context, s *snapshot.Snapshot) (Prepared, error)
}

// Prepared is a snapshot ready to serve. Exactly one of its methods is called, once.
type Prepared interface {
	// Commit puts the snapshot to use. It cannot refuse.
	Commit()
	// Abort drops what Prepare built.
	Abort()
}
