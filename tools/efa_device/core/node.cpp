#include "tools/efa_device/core/node.h"

#include <algorithm>
#include <cerrno>

#include "src/base/log.h"

namespace weft::efa {

Node::Nic::Nic(const Spec& spec, const FaultPlan& plan, uint32_t index)
    : gid(gid_make(spec.host, index)),
      mrs(spec.limits, plan.limit(FaultKind::mr_fail, index, UINT64_MAX)),
      ahs(static_cast<uint32_t>(plan.limit(FaultKind::ah_max, index, spec.limits.ahs))),
      cqs_max(static_cast<uint32_t>(plan.limit(FaultKind::cq_max, index, spec.limits.cqs))),
      qps_max(static_cast<uint32_t>(plan.limit(FaultKind::qp_max, index, spec.limits.qps))),
      send_queue_max(
          static_cast<uint32_t>(plan.limit(FaultKind::sq_max, index, spec.limits.send_queue))),
      stale_left(plan.stale(index) != nullptr ? plan.stale(index)->count : 0) {
}

Node::Node(const Spec& spec, const NodePlace& place, Wire& wire, DecisionLog log)
    : spec_(spec),
      place_(place),
      plan_(spec.faults, spec.host, place.process),
      wire_(wire),
      log_(std::move(log)) {
    for (uint32_t i = 0; i < spec_.nics.size(); ++i) {
        nics_.push_back(std::make_unique<Nic>(spec_, plan_, i));
        nics_.back()->free_at = place.start;
    }
}

uint32_t Node::mr_add(uint32_t nic, uint64_t address, uint64_t length, uint32_t access,
                      int& error) {
    const std::lock_guard lock(mutex_);
    return nics_[nic]->mrs.add(address, length, access, error);
}

void Node::mr_remove(uint32_t nic, uint32_t key) {
    const std::lock_guard lock(mutex_);
    nics_[nic]->mrs.remove(key);
}

uint16_t Node::ah_add(uint32_t nic, const Gid& gid) {
    const std::lock_guard lock(mutex_);
    return nics_[nic]->ahs.add(gid);
}

void Node::ah_remove(uint32_t nic, uint16_t ah) {
    const std::lock_guard lock(mutex_);
    nics_[nic]->ahs.remove(ah);
}

std::optional<Gid> Node::ah_gid(uint32_t nic, uint16_t ah) const {
    const std::lock_guard lock(mutex_);
    return nics_[nic]->ahs.gid(ah);
}

int Node::cq_add(uint32_t nic) {
    const std::lock_guard lock(mutex_);
    if (nics_[nic]->cqs >= nics_[nic]->cqs_max) {
        return ENOMEM;
    }
    ++nics_[nic]->cqs;
    return 0;
}

void Node::cq_remove(uint32_t nic) {
    const std::lock_guard lock(mutex_);
    --nics_[nic]->cqs;
}

// Numbers go round, as the device's do: one that was given up comes back late.
QueuePair* Node::qp_create(const QpInit& init, int& error) {
    const std::lock_guard lock(mutex_);
    Nic& nic = *nics_[init.nic];
    const Limits& limits = spec_.limits;
    if (init.send_depth > nic.send_queue_max || init.receive_depth > limits.receive_queue) {
        error = EINVAL;
        return nullptr;
    }
    if (nic.qps.size() >= std::min(nic.qps_max, qp_per_process_max)) {
        error = ENOMEM;
        return nullptr;
    }
    while (nic.qps.count(qpn_make(place_.process, nic.qp_next)) != 0) {
        nic.qp_next = (nic.qp_next + 1) % qp_per_process_max;
    }
    auto qp = std::make_unique<QueuePair>();
    qp->init = init;
    qp->qpn = qpn_make(place_.process, nic.qp_next);
    qp->epoch = place_.epoch + ++epochs_;
    nic.qp_next = (nic.qp_next + 1) % qp_per_process_max;
    return (nic.qps[qp->qpn] = std::move(qp)).get();
}

// Packets of it that wait for their time are found to be nobody's when it comes.
void Node::qp_destroy(QueuePair* qp) {
    const std::lock_guard lock(mutex_);
    const uint32_t qpn = qp->qpn;
    Nic& nic = *nics_[qp->init.nic];
    if (qp->init.send_cq != nullptr) {
        qp->init.send_cq->forget(qpn);
    }
    if (qp->init.receive_cq != nullptr) {
        qp->init.receive_cq->forget(qpn);
    }
    std::erase(nic.turns, qpn);
    nic.qps.erase(qpn);
}

void Node::qp_ready(QueuePair* qp, uint32_t qkey, uint32_t rnr_retry) {
    qp_set(qp, qkey, rnr_retry);
    for (const QpState state : {QpState::init, QpState::ready_to_receive, QpState::ready_to_send}) {
        qp_state(qp, state);
    }
}

int Node::qp_state(QueuePair* qp, QpState state) {
    const std::lock_guard lock(mutex_);
    const bool next = static_cast<int>(state) == static_cast<int>(qp->state) + 1;
    if (state != QpState::error && state != QpState::reset && state != qp->state && !next) {
        return EINVAL;
    }
    qp->state = state;
    if (state == QpState::error || state == QpState::reset) {
        flush(*qp);
    }
    return 0;
}

void Node::qp_set(QueuePair* qp, std::optional<uint32_t> qkey, std::optional<uint32_t> rnr_retry) {
    const std::lock_guard lock(mutex_);
    qp->qkey = qkey.value_or(qp->qkey);
    qp->rnr_retry = rnr_retry.value_or(qp->rnr_retry);
}

int Node::post_send(QueuePair* qp, SendRequest request) {
    const std::lock_guard lock(mutex_);
    if (qp->state != QpState::ready_to_send && qp->state != QpState::error) {
        return EINVAL;
    }
    const bool far =
        !qp->messages.empty() && qp->next_message - qp->messages.begin()->first >= message_spread;
    if (far || qp->messages.size() >= qp->init.send_depth) {
        return ENOMEM;
    }
    Nic& nic = *nics_[qp->init.nic];
    const uint64_t number = qp->next_message++;
    Message& message = qp->messages[number];
    message.bytes = request.inlined.size();
    for (const Sge& sge : request.sges) {
        message.bytes += sge.length;
    }
    message.packets = packet_count(message.bytes);
    message.target = nic.ahs.gid(request.ah).value_or(Gid{});
    message.request = std::move(request);
    const Status status =
        qp->state == QpState::error ? Status::flushed : request_check(nic, *qp, message.request);
    if (status != Status::ok) {
        complete(*qp, number, status);
        return 0;
    }
    message.done.resize(message.packets);
    qp->unsent.push_back(number);
    turn_add(nic, *qp);
    return 0;
}

// What the device finds out before a packet leaves.
Status Node::request_check(const Nic& nic, const QueuePair& qp, const SendRequest& request) const {
    uint64_t bytes = request.inlined.size();
    const bool writes_here = request.operation == Operation::read;
    for (const Sge& sge : request.sges) {
        const uint32_t access = writes_here ? uint32_t{access_local_write} : 0;
        if (sge.length != 0 && !nic.mrs.allows(sge.lkey, sge.address, sge.length, access)) {
            return Status::invalid_lkey;
        }
        bytes += sge.length;
    }
    if (!nic.ahs.gid(request.ah)) {
        return Status::invalid_ah;
    }
    const bool is_send = request.operation == Operation::send;
    const uint32_t needs = request.operation == Operation::read ? caps_read : caps_write;
    const size_t sges = is_send ? spec_.limits.send_sges : spec_.limits.rdma_sges;
    if ((!is_send && (qp.init.type == QpType::ud || (spec_.caps & needs) == 0)) ||
        request.sges.size() > sges) {
        return Status::unsupported_op;
    }
    const uint64_t most = is_send ? packet_payload_max : rdma_bytes_max;
    return bytes > most ? Status::local_bad_length : Status::ok;
}

int Node::post_receive(QueuePair* qp, ReceiveRequest request) {
    const std::lock_guard lock(mutex_);
    if (qp->state == QpState::reset || request.sges.size() > spec_.limits.receive_sges) {
        return EINVAL;
    }
    if (qp->receives.size() >= qp->init.receive_depth) {
        return ENOMEM;
    }
    qp->receives.push_back(std::move(request));
    if (qp->state == QpState::error) {
        flush(*qp);
    }
    return 0;
}

FaultPlan::Moment Node::moment(const Nic& nic, Nanos now) const {
    return {now - place_.start, nic.sent};
}

uint64_t Node::sent_all() const {
    uint64_t sent = 0;
    for (const auto& nic : nics_) {
        sent += nic->sent;
    }
    return sent;
}

QueuePair* Node::qp_find(uint32_t nic, uint32_t qpn) {
    const auto found = nics_[nic]->qps.find(qpn);
    return found == nics_[nic]->qps.end() ? nullptr : found->second.get();
}

void Node::push(Nic& nic, CompletionQueue& cq, const Completion& completion) {
    if (completion.status != Status::ok) {
        count(nic.counters.errors);
    }
    if (!cq.push(completion)) {
        count(nic.counters.cq_overruns);
    }
}

// Late answers to it find no message and change nothing.
void Node::complete(QueuePair& qp, uint64_t number, Status status) {
    const auto found = qp.messages.find(number);
    const Message& message = found->second;
    Nic& nic = *nics_[qp.init.nic];
    Completion completion;
    completion.wr_id = message.request.wr_id;
    completion.status = status;
    completion.operation = message.request.operation;
    completion.qpn = qp.qpn;
    Counters& counters = nic.counters;
    const bool write = message.request.operation == Operation::write;
    count(write && message.request.has_immediate    ? counters.writes_imm
          : write                                   ? counters.writes
          : completion.operation == Operation::read ? counters.reads
                                                    : counters.sends);
    qp.in_flight -= message.sent;
    if (message.request.signaled || status != Status::ok) {
        push(nic, *qp.init.send_cq, completion);
    }
    qp.messages.erase(found);
    std::erase(qp.unsent, number);
    turn_add(nic, qp);
}

// Everything posted ends as flushed.
void Node::flush(QueuePair& qp) {
    while (!qp.messages.empty()) {
        complete(qp, qp.messages.begin()->first, Status::flushed);
    }
    for (const ReceiveRequest& receive : qp.receives) {
        Completion completion;
        completion.wr_id = receive.wr_id;
        completion.status = Status::flushed;
        completion.operation = Operation::receive;
        completion.qpn = qp.qpn;
        push(*nics_[qp.init.nic], *qp.init.receive_cq, completion);
    }
    qp.receives.clear();
    qp.again.clear();
    qp.flights.clear();
    qp.inbound.clear();
}

void Node::turn_add(Nic& nic, const QueuePair& qp) {
    const bool waits = !qp.unsent.empty() || !qp.again.empty();
    if (waits && std::find(nic.turns.begin(), nic.turns.end(), qp.qpn) == nic.turns.end()) {
        nic.turns.push_back(qp.qpn);
    }
}

bool Node::quiet() {
    const std::lock_guard lock(mutex_);
    const bool arrived = wire_.front().header != nullptr;
    return !arrived && waiting_.empty() && !held_any() && wire_.drained();
}

void Node::close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
}

bool Node::rail_up(uint32_t nic, Nanos now) const {
    const std::lock_guard lock(mutex_);
    return !plan_.rail_down(nic, moment(*nics_[nic], now));
}

bool Node::died(Nanos now) const {
    const std::lock_guard lock(mutex_);
    return plan_.dies({now - place_.start, sent_all()});
}

std::string Node::counters_text() const {
    std::vector<CountersOf> list;
    for (size_t i = 0; i < nics_.size(); ++i) {
        list.push_back({spec_.nics[i].name, &nics_[i]->counters});
    }
    return counters_json(spec_.host, place_.process, spec_.seed, list);
}

}  // namespace weft::efa
