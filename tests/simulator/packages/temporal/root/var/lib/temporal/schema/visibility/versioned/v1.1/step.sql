CREATE TABLE simulated_1 (id bigserial PRIMARY KEY);
