# What made the results beside this file: python3 measure.py MULTI-SYNC FOLDER ROUNDS empty,lognormal,large
import resource,os,subprocess,sys,time,statistics,shutil,json,platform
MS,where,R=sys.argv[1],sys.argv[2],int(sys.argv[3]); shapes=sys.argv[4].split(',')
os.makedirs(where,exist_ok=True); os.chdir(where)
import random
def gen(kind):
    random.seed(5); src=f'{where}/src-{kind}'
    if os.path.exists(src): return src
    os.makedirs(src)
    if kind=='empty':
        for d in range(500):
            os.makedirs(f'{src}/d{d//25}/e{d%25}')
            for f in range(100): open(f'{src}/d{d//25}/e{d%25}/f{f}','w').close()
    elif kind=='lognormal':
        total=0
        blob=os.urandom(1<<20)*66
        for f in range(20000):
            d=f'{src}/d{f%20}/e{f%200}'; os.makedirs(d,exist_ok=True)
            n=min(int(random.lognormvariate(8.5,2.2)),60<<20)
            o=random.randrange(1<<20); open(f'{d}/f{f}','wb').write(blob[o:o+n]); total+=n
        print('lognormal bytes',total)
    elif kind=='large':
        with open(f'{src}/file','wb') as f:
            b=os.urandom(1<<20)
            for i in range(3<<10): f.write(b[i%1000:]+b[:i%1000])
    subprocess.run(['find',src,'-exec','touch','-h','-d','@1000000000','{}','+'])
    os.sync()
    return src
tools={
 'rsync':lambda s,d:['rsync','-a','--numeric-ids',s+'/',d+'/'],
 'off -p2':lambda s,d:[MS,'-p','2','--first-pass=off','-r','-a --numeric-ids',s+'/',d+'/'],
 'auto -p2':lambda s,d:[MS,'-p','2','--first-pass=auto','-r','-a --numeric-ids',s+'/',d+'/'],
 'cp -a':lambda s,d:['cp','-a',s+'/.',d],
 'tar':lambda s,d:['sh','-c',f'cd {s} && tar cf - . | tar xpf - -C {d} --same-owner'],
}
res=[]
for kind in shapes:
    src=gen(kind)
    for r in range(R):
        for name,cmd in tools.items():
            d=f'{where}/dst'; subprocess.run(['rm','-rf',d]); os.mkdir(d); os.sync() if 'shm' not in where else None
            time.sleep(0.2)
            ru=resource.getrusage(resource.RUSAGE_CHILDREN); c0=ru.ru_utime+ru.ru_stime; t=time.monotonic(); rc=subprocess.run(cmd(src,d),stdout=subprocess.DEVNULL).returncode; t=time.monotonic()-t; ru=resource.getrusage(resource.RUSAGE_CHILDREN); cpu=ru.ru_utime+ru.ru_stime-c0
            nt=None
            same=True
            if r==0: 
                o=subprocess.run(['rsync','-anic' if kind!='large' else '-ani','--delete',src+'/',d+'/'],capture_output=True,text=True).stdout
                same=not [l for l in o.splitlines() if not l.startswith('.d')] and (not o or name in('tar','cp -a'))
            if name in('rsync','off -p2','auto -p2'):
                u=time.monotonic(); subprocess.run(cmd(src,d),stdout=subprocess.DEVNULL); nt=time.monotonic()-u
            res.append(dict(kind=kind,tool=name,round=r,seconds=round(t,4),cpu=round(cpu,4),again=nt and round(nt,4),code=rc,same=same,load=os.getloadavg()[0]))
            assert rc==0 and same,(name,rc,o)
    med=lambda n,k='seconds':statistics.median(x[k] for x in res if x['tool']==n and x['kind']==kind)
    one=med('rsync'); 
    for n in tools:
        print(kind,n,'%.3f s'%med(n),'ratio %.2f'%(med(n)/one),'cpu %.2f ratio %.2f'%(med(n,'cpu'),med(n,'cpu')/med('rsync','cpu')), 'again %.3f ratio %.2f'%(med(n,'again'),med(n,'again')/med('rsync','again')) if n in('rsync','off -p2','auto -p2') else '',flush=True)
    subprocess.run(['rm','-rf',src,f'{where}/dst'])
json.dump(dict(machine=dict(kernel=platform.release(),cpus=os.cpu_count()),where=where,commands={n:' '.join(c('SRC','DST')) for n,c in tools.items()},rounds=res),open(f'/tmp/fpbench-{os.path.basename(where)}-{"-".join(shapes)}.json','w'),indent=1)
