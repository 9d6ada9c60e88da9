package riverexec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/goairlock/airlock/core"
)

// Native sets what River alone has: tags, pending, metadata of one's own,
// UniqueOpts. f is called after the portable options have been mapped, and what
// it sets wins. The metadata that it sets is kept next to ours. f may be called
// more than once and must depend on its argument alone. What River would refuse is
// [core.ErrInvalid] at dispatch.
func Native(f func(*river.InsertOpts)) core.Option {
	if f == nil {
		return core.NativeOption(name, nil)
	}
	return core.NativeOption(name, f)
}

// native calls the functions of the native options.
func native(in *core.Intent, opts *river.InsertOpts) (err error) {
	if !in.Has(core.OptionNative) {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("airlock: river: task %s: native option: %w: %w", in.Task, core.ErrInvalid, &core.PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	for _, v := range in.Native(name) {
		f, ok := v.(func(*river.InsertOpts))
		if !ok {
			return fmt.Errorf("airlock: river: task %s: native option of type %T, want that of riverexec.Native: %w", in.Task, v, core.ErrInvalid)
		}
		f(opts)
	}
	return checkNative(in, opts)
}

// What River 0.51 demands of InsertOpts. One job that River refuses would cost
// a whole call, so it is found before.
var (
	tagName = regexp.MustCompile(`\A[\w][\w\-]+[\w]\z`)

	uniqueStatesRequired = []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}
)

func checkNative(in *core.Intent, opts *river.InsertOpts) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("airlock: river: task %s: native option: %s: %w", in.Task, fmt.Sprintf(format, args...), core.ErrInvalid)
	}
	switch {
	case opts.Priority < 0 || opts.Priority > 4:
		return bad("priority %d, want 1 to 4", opts.Priority)
	case opts.MaxAttempts < 0 || opts.MaxAttempts > mostAttempts:
		return bad("max attempts %d, want 1 to %d", opts.MaxAttempts, mostAttempts)
	case opts.Queue != "" && !validQueue(opts.Queue):
		return bad("malformed queue name")
	}
	for _, tag := range opts.Tags {
		if len(tag) > 255 || !tagName.MatchString(tag) {
			return bad("malformed tag: want 3 to 255 letters, digits, _ and inner -")
		}
	}
	if len(opts.Metadata) > 0 {
		var object map[string]json.RawMessage
		if json.Unmarshal(opts.Metadata, &object) != nil || object == nil {
			return bad("metadata is not a JSON object")
		}
		if why := database("").unfit(opts.Metadata); why != "" {
			return bad("metadata: %s", why)
		}
		for key := range object {
			if key == metadataKey || key == wrapKey {
				return bad("metadata has the key %s, which is reserved", key)
			}
		}
	}
	return checkUniqueOpts(in, opts, bad)
}

func checkUniqueOpts(in *core.Intent, opts *river.InsertOpts, bad func(string, ...any) error) error {
	if !hasUniqueOpts(opts) {
		return nil
	}
	for _, option := range []core.OptionName{core.OptionID, core.OptionUnique} {
		if in.Has(option) {
			return &core.OptionError{Option: option, Executor: name,
				Reason: "a job has one unique key, and the native UniqueOpts take it"}
		}
	}
	u := &opts.UniqueOpts
	switch {
	case u.ByPeriod != 0 && u.ByPeriod < time.Second:
		return bad("UniqueOpts.ByPeriod of %v, want at least a second", u.ByPeriod)
	case u.ExcludeKind && !u.ByArgs && !u.ByQueue && u.ByPeriod == 0:
		return bad("UniqueOpts.ExcludeKind without ByArgs, ByQueue or ByPeriod")
	case u.ByArgs && !isObject(in.Payload()):
		return bad("UniqueOpts.ByArgs for arguments that are not a JSON object")
	case len(u.ByState) == 0:
		return nil
	}
	for _, state := range uniqueStatesRequired {
		if !slices.Contains(u.ByState, state) {
			return bad("UniqueOpts.ByState lacks %s", state)
		}
	}
	for _, state := range u.ByState {
		if !slices.Contains(rivertype.JobStates(), state) {
			return bad("UniqueOpts.ByState has an unknown state")
		}
	}
	return nil
}

func isObject(payload []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte{'{'})
}

func hasUniqueOpts(opts *river.InsertOpts) bool {
	u := &opts.UniqueOpts
	return u.ByArgs || u.ByPeriod != 0 || u.ByQueue || u.ByState != nil || u.ExcludeKind
}
