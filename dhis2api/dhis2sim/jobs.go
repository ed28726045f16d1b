package dhis2sim

import (
	"context"
	"sync"
)

// jobs run one after the other, as DHIS2's job queue does.
type jobs struct {
	mu      sync.Mutex
	waiting []job
	running bool
}

// job is work that a request asked for and does not wait for.
type job struct {
	run func()
	// failed is called when what run did was not kept.
	failed func()
}

// later runs a job after the request that asked for it, alone, with the lock held for writing.
func (s *Server) later(job job) {
	s.jobs.mu.Lock()
	defer s.jobs.mu.Unlock()
	s.jobs.waiting = append(s.jobs.waiting, job)
	if !s.jobs.running {
		s.jobs.running = true
		go s.runJobs()
	}
}

func (s *Server) runJobs() {
	for {
		s.jobs.mu.Lock()
		if len(s.jobs.waiting) == 0 {
			s.jobs.running = false
			s.jobs.mu.Unlock()
			return
		}
		job := s.jobs.waiting[0]
		s.jobs.waiting = s.jobs.waiting[1:]
		s.jobs.mu.Unlock()
		if err := s.write(context.Background(), job.run); err != nil {
			s.trouble(err)
			s.mu.Lock()
			job.failed()
			s.mu.Unlock()
		}
	}
}
