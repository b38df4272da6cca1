package reconcile

import (
	"time"

	"github.com/sluice-gateway/sluice/control/snapshot"
	"github.com/sluice-gateway/sluice/control/store"
)

// Status is the state of the controller at one moment.
type Status struct {
	// Rev is the revision of the stored objects known here, Served that of the snapshot in use. They differ while a plane
	// refuses what another writer stored.
	Rev, Served store.Rev
	// Problems lists the objects that are left out or served in an older version.
	Problems []snapshot.Problem
	// Planes has an entry for each plane, in the order of New.
	Planes []PlaneStatus
	// Degraded says that what is served is not what is stored: a plane refuses it, or the store cannot be followed.
	Degraded bool
	// StoreError says why the store cannot be followed, or is empty.
	StoreError string
	// Started is when Start finished, Committed when the planes last committed, Took how long the last compile,
	// prepare, write and commit took together.
	Started, Committed time.Time
	Took               time.Duration
	// Commits counts commits, Refused the updates that were refused since Start.
	Commits, Refused uint64
}

// PlaneStatus is what the controller knows about one plane.
type PlaneStatus struct {
	Name string
	// LastError is why the plane last refused a snapshot, empty when it never did; LastErrorAt is when.
	LastError   string
	LastErrorAt time.Time
	// Degraded says that the plane refused the latest snapshot that was stored.
	Degraded bool
}
