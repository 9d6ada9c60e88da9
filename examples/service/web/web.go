// Package web is the HTTP API of the service.
package web

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/airlockpgx"
	"github.com/goairlock/airlock/examples/service/orders"
)

// API returns the handler. ready says whether the process can serve requests.
func API(s *orders.Service, ready func(context.Context) error, log *slog.Logger) http.Handler {
	a := &api{s, log}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", a.place)
	mux.HandleFunc("GET /orders/{id}", a.get)
	mux.HandleFunc("POST /orders/{id}/receipt", a.receipt)
	Health(mux, ready)
	return http.MaxBytesHandler(mux, 64<<10)
}

// Health adds the endpoints for the platform: /healthz says that the process runs, and
// /readyz that it can do its work. A queue that is away does not make the API unready:
// orders are stored all the same.
func Health(mux *http.ServeMux, ready func(context.Context) error) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := ready(ctx); err != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

type api struct {
	orders *orders.Service
	log    *slog.Logger
}

func (a *api) place(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Email string `json:"email"`
		Cents int64  `json:"cents"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "the body is no order", http.StatusBadRequest)
		return
	}
	o, err := a.orders.Place(r.Context(), in.Email, in.Cents)
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Location", "/orders/"+o.ID)
	answer(w, http.StatusCreated, o)
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	o, err := a.orders.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, o)
}

func (a *api) receipt(w http.ResponseWriter, r *http.Request) {
	if err := a.orders.SendReceiptAgain(r.Context(), r.PathValue("id")); err != nil {
		a.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// fail says what became of the request. The client learns whether to send it again,
// and nothing of the reason, which is in the log.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	var flush *airlock.FlushError
	var commit *airlockpgx.CommitError
	switch {
	case errors.Is(err, orders.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case errors.Is(err, orders.ErrNoOrder):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case errors.As(err, &flush) && len(flush.Refused()) == 0:
		// The queue is away, and nothing else was done. If the outcome is Unknown, the
		// client may get two receipts for two requests.
		w.Header().Set("Retry-After", "5")
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	case errors.As(err, &commit):
		// Nobody knows whether the order is stored. The client must look before it
		// sends the request again.
		http.Error(w, "the order may be stored", http.StatusInternalServerError)
	default: // also a refused intent, which is a bug here
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
	a.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.Pattern, "error", err)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// Serve serves until ctx ends. Then it lets requests finish, for limit at the most.
func Serve(ctx context.Context, addr string, h http.Handler, limit time.Duration) error {
	server := &http.Server{Addr: addr, Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	return server.Shutdown(last)
}
