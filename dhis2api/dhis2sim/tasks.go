package dhis2sim

import (
	"fmt"
	"net/http"
)

// task is one asynchronous import other than tracker's.
type task struct {
	notifications []object
	summary       any // nil until it is done
}

// startTask runs work later, and answers where to ask for its outcome.
func (s *Server) startTask(w http.ResponseWriter, r *http.Request, kind string, work func() any) {
	uid := newUID()
	now := s.now()
	t := &task{}
	s.tasks[kind+"/"+uid] = t
	note := func(message string, completed bool) {
		id := newUID()
		entry := object{"uid": id, "id": id, "level": "INFO", "category": kind, "time": s.timestamp(s.now()), "message": message, "completed": completed}
		t.notifications = append([]object{entry}, t.notifications...)
	}
	s.later(job{
		run: func() {
			note("Process started", false)
			t.summary = work()
			note("Process completed", true)
		},
		failed: func() {
			t.notifications, t.summary = nil, nil
			note("Process failed", true)
		},
	})
	w.Header().Set("Location", baseURL(r)+"/api/system/tasks/"+kind)
	writeMessage(w, http.StatusOK, "OK", "Initiated "+kind, object{
		"name": fmt.Sprintf("%s (%d)", kind, now.UnixMilli()), "id": uid, "created": s.timestamp(now), "jobType": kind, "jobStatus": "NOT_STARTED",
		"relativeNotifierEndpoint": "/api/system/tasks/" + kind + "/" + uid, "responseType": "JobConfiguration",
	})
}

// taskRoutes tells how tasks are going. What it does not know is empty, not an error.
func (s *Server) taskRoutes() {
	s.handle("GET /api/system/tasks/{kind}/{uid}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		notifications := []object{}
		if t := s.tasks[r.PathValue("kind")+"/"+r.PathValue("uid")]; t != nil {
			notifications = append(notifications, t.notifications...)
		}
		writeJSON(w, http.StatusOK, notifications)
	})
	s.handle("GET /api/system/taskSummaries/{kind}/{uid}", func(w http.ResponseWriter, r *http.Request, _ *account) {
		if t := s.tasks[r.PathValue("kind")+"/"+r.PathValue("uid")]; t != nil && t.summary != nil {
			writeJSON(w, http.StatusOK, t.summary)
		}
	})
}
