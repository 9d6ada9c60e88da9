package airlockhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/adapter"
	"github.com/goairlock/airlock/airlockhttp"
	"github.com/goairlock/airlock/core"
)

func ExampleMiddleware() {
	queue := adapter.Each(core.Capabilities{}, func(_ context.Context, in core.Intent) error { // your queue
		fmt.Println("dispatch", in.Task)
		return nil
	})
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := airlock.Enqueue(r.Context(), core.DeclareTask[string]("email.receipt"), "A-1"); err != nil {
			http.Error(w, "try again later", http.StatusInternalServerError)
			return
		}
		if r.FormValue("card") == "declined" {
			http.Error(w, "card declined", http.StatusPaymentRequired)
		}
	})
	handler := airlockhttp.Middleware(queue, nil)(orders)
	for _, card := range []string{"good", "declined"} {
		res := httptest.NewRecorder()
		handler.ServeHTTP(res, httptest.NewRequest(http.MethodPost, "/?card="+card, nil))
		fmt.Println(card, res.Code)
	}
	// Output:
	// dispatch email.receipt
	// good 200
	// declined 402
}
