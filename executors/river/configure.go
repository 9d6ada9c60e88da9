package riverexec

import (
	"context"
	"fmt"
	"slices"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// ConfigureClient prepares the Config of a client that is to be given to [New]: it
// adds the hook that stores an intent's identity. Call it before river.NewClient. A
// second call changes nothing. A nil config is [core.ErrInvalid].
//
// The client's own jobs are not affected.
func ConfigureClient(config *river.Config) error {
	if config == nil {
		return fmt.Errorf("airlock: river: nil config: %w", core.ErrInvalid)
	}
	ours := func(h rivertype.Hook) bool { _, ok := h.(*hook); return ok }
	if !slices.ContainsFunc(config.Hooks, ours) {
		config.Hooks = append(slices.Clip(config.Hooks), &hook{})
	}
	return nil
}

// hook sets what InsertOpts has no field for. It belongs to the client and not
// to the arguments, where River has hooks too: those are looked up once per kind
// and client, and a native insert of the kind that came first would leave ours
// out.
type hook struct{ river.HookDefaults }

// InsertBegin is called for each job, after River has mapped its options and
// before anything of the call is sent.
func (*hook) InsertBegin(_ context.Context, params *rivertype.JobInsertParams) error {
	j, ok := params.Args.(*job)
	if !ok {
		return nil
	}
	j.row = params
	if j.ready {
		params.State = rivertype.JobStateAvailable
	}
	if j.key != nil {
		params.UniqueKey, params.UniqueStates = j.key, j.states
		return nil
	}
	return j.batch.claim(j, params.UniqueKey)
}

// errNotConfigured is the answer if River inserted without our hook.
var errNotConfigured = fmt.Errorf("airlock: river: the client's Config was not given to riverexec.ConfigureClient, "+
	"so no identity can be stored: %w", core.ErrInvalid)
